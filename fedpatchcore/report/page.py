"""One run as one HTML page that opens anywhere: no link leads out of it, nothing is fetched.

Made from what a run folder holds: ``config.json``, ``metrics.json``, ``bank.safetensors``,
``privacy.json`` of a private run and, in a simulation, the pictures under
``sites/<site>/heatmaps``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.metrics.comparison import comparison_rows, last_evaluated
from fedpatchcore.report.pictures import gather
from fedpatchcore.report.registry import SECTIONS
from fedpatchcore.report.render import render
from fedpatchcore.report.story import Story
from fedpatchcore.report.views.headline import headline
from fedpatchcore.sealed import read_sealed

__all__ = ["build_report"]


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
    if not path.is_file():
        raise RunError(f"no report without {path}: is this the folder of a run?")
    content = read_sealed(path, error=RunError)
    if not isinstance(content, dict):
        raise RunError(f"{path} does not hold a table of settings or figures")
    return content


def _page(story: Story) -> str:
    return render(
        "page.html.j2",
        headline=headline(story),
        sections=[section for view in SECTIONS for section in view(story)],
        version=story.metrics.get("version") or "",
    )
