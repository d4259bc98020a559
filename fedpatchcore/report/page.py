"""One run as one HTML page that opens anywhere: no link leads out of it, nothing is fetched.

Made from what a run folder holds: ``config.json``, ``metrics.json``, ``bank.safetensors``,
``privacy.json`` of a private run and, in a simulation whose sites tell figures of their own, the
pictures under ``sites/<site>/heatmaps``. A figure or a section that cannot be drawn says so in its
place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.metrics.comparison import comparison_rows, last_evaluated
from fedpatchcore.report.model import LEFT_OUT, Section
from fedpatchcore.report.pictures import Pictures, gather
from fedpatchcore.report.registry import SECTIONS
from fedpatchcore.report.render import render
from fedpatchcore.report.story import Story
from fedpatchcore.report.views.headline import headline
from fedpatchcore.report.words import reason_of
from fedpatchcore.sealed import read_sealed
from fedpatchcore.texts import NAME, one_line

__all__ = ["build_report"]


def build_report(run: Path) -> Path:
    """Write ``report.html`` (and copies of the pictures into ``heatmaps/``) → its path.

    Raises:
        RunError: ``config.json`` or ``metrics.json`` is missing, one of these or
            ``privacy.json`` is damaged, or the folder cannot be written.
        BankError: the bank is missing or damaged.
    """
    run = Path(run)
    metrics, config = _read(run / "metrics.json"), _read(run / "config.json")
    privacy = _read(run / "privacy.json") if (run / "privacy.json").is_file() else {}
    bank = MemoryBank.load(run / "bank.safetensors")
    summed = bool(config.get("secure-figures"))  # no site's own is shown, no picture of its either
    try:
        last, rows = last_evaluated(metrics) or {}, comparison_rows(metrics)
    except Exception as error:  # whatever a file of another shape makes of it
        raise RunError(
            f"{run / 'metrics.json'} is damaged: it holds no records of rounds ({reason_of(error)})"
        ) from None
    try:
        story = Story(
            name=one_line(metrics.get("run") or run.resolve().name, NAME),
            config=config,
            metrics=metrics,
            header=bank.header(),
            last=last,
            rows=rows,
            pictures=Pictures() if summed else gather(run),
            privacy=privacy,
            virtual=(run / "sites").is_dir(),
        )
        target = run / "report.html"
        write_atomically(target, _page(story).encode(errors="replace"))
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
    """All sections, each drawn by itself: one that cannot be drawn says so in its place."""
    return render(
        "page.html.j2",
        name=story.name,
        headline=_drawn(headline, story, "headline.html.j2", "headline"),
        sections=[part for view in SECTIONS for part in _parts(view, story)],
        version=one_line(story.metrics.get("version") or "", NAME),
    )


@dataclass(frozen=True)
class Part:
    """A section as it stands in the page."""

    title: str
    anchor: str
    body: Markup


def _parts(view: Callable[[Story], Iterable[Section]], story: Story) -> list[Part]:
    title = view.__name__.replace("_", " ").capitalize()
    try:
        sections = list(view(story))
    except Exception as error:
        return [Part(title, "", _left_out(error))]
    return [
        Part(s.title, s.anchor, _drawn(lambda _, s=s: s.view, story, s.template, "view"))
        for s in sections
    ]


def _drawn(view: Callable[[Story], object], story: Story, template: str, name: str) -> Markup:
    try:
        return Markup(render(template, **{name: view(story)}))
    except Exception as error:
        return _left_out(error)


def _left_out(error: Exception) -> Markup:
    return Markup(render(LEFT_OUT, view=reason_of(error)))
