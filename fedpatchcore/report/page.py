"""One run as one HTML page that opens anywhere: no link leads out of it, nothing is fetched.

Made from what a run folder holds: ``config.json``, ``metrics.json``, ``bank.safetensors``,
``privacy.json`` of a private run and, in a simulation, the pictures under
``sites/<site>/heatmaps``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.metrics.comparison import comparison_rows, last_evaluated
from fedpatchcore.report import sections
from fedpatchcore.report.headline import headline, summary
from fedpatchcore.report.markup import Html, element, join
from fedpatchcore.report.pictures import gather
from fedpatchcore.report.privacy import privacy
from fedpatchcore.report.products import product_section
from fedpatchcore.report.story import Story
from fedpatchcore.report.style import STYLE

__all__ = ["build_report", "comparison_rows"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def build_report(run: Path) -> Path:
    """Write ``report.html`` (and copies of the pictures into ``heatmaps/``) → its path.

    Raises:
        RunError: ``config.json`` or ``metrics.json`` is missing, one of these or
            ``privacy.json`` is damaged, or the folder cannot be written.
        BankError: the bank is missing or damaged.
    """
    run = Path(run)
    metrics = _read(run / "metrics.json")
    bank = MemoryBank.load(run / "bank.safetensors")
    try:
        pictures = gather(run)
        story = Story(
            name=str(metrics.get("run") or run.resolve().name),
            config=_read(run / "config.json"),
            metrics=metrics,
            header=bank.header(),
            last=last_evaluated(metrics) or {},
            rows=comparison_rows(metrics),
            pictures=pictures,
            privacy=_read(run / "privacy.json") if (run / "privacy.json").is_file() else {},
        )
        target = run / "report.html"
        write_atomically(target, _page(story).encode())
    except OSError as error:
        raise RunError(f"cannot write the report into {run}: {error.strerror}") from None
    return target


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"no report without {path}: is this the folder of a run?") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} does not hold a table of settings or figures")
    return content


def _page(story: Story) -> str:
    blocks = [
        *(
            (name, f"product-{at}", product_section(story, name))
            for at, name in enumerate(story.products())
        ),
        ("Coverage", "coverage", sections.coverage(story)),
        ("Memory bank", "bank", sections.bank(story)),
        ("Bytes and seconds", "traffic", sections.traffic(story)),
        ("Privacy", "privacy", privacy(story)),
        ("Configuration", "configuration", sections.configuration(story)),
    ]
    if not story.pictures:
        blocks.insert(-5, ("Pictures", "pictures", element("p", sections.no_pictures(story))))
    links = join(element("a", title, href=f"#{anchor}") for title, anchor, _ in blocks)
    body = join(
        [
            element("header", headline(story)),
            element("nav", element("div", links)),
            element(
                "main",
                summary(story),
                *(
                    element("section", element("h2", title), content, id=anchor)
                    for title, anchor, content in blocks
                ),
            ),
            element("footer", f"FedPatchCore {story.metrics.get('version') or ''}"),
        ]
    )
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            element("title", f"{story.name} – FedPatchCore"),
            element("style", Html(STYLE)),
        ]
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'
