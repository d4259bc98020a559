"""The table of a run's sites: state, what their replies add up to, verdicts before AUROC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from fedpatchcore.cli.common import number
from fedpatchcore.runs.siteview import SiteView
from fedpatchcore.runs.watch import RunView

__all__ = ["SiteTable"]

NOTHING = "–"  # unknown, or withheld
STYLES = {
    "waiting": "dim",
    "extracting": "cyan",
    "evaluating": "cyan",
    "sent": "blue",
    "nothing new": "blue",
    "passed over": "dim",
    "done": "green",
}
STATE = 24  # characters that a reason gets at least
GAP = 2  # between two columns
FIGURES: dict[str, Callable[[SiteView], str]] = {
    "images": lambda site: _count(site.images),
    "taught": lambda site: _count(site.taught),
    "patches": lambda site: _count(site.patches),
    "rows": lambda site: _count(site.rows),
    "MB": lambda site: number(site.megabytes, 2),
    "seconds": lambda site: number(site.seconds, 1),
    "ε": lambda site: number(site.epsilon, 2),
    "defects\nfound": lambda site: site.verdict.found.counts if site.verdict else NOTHING,
    "good\nstopped": lambda site: site.verdict.stopped.counts if site.verdict else NOTHING,
    "image\nAUROC": lambda site: number(site.image_auroc),
}
SPARE = ("taught", "patches", "rows", "seconds", "MB", "images")  # the first to go if it is narrow


class SiteTable:
    """One row a site, as wide as the console is.

    A column stands once a site has a figure for it; "taught" only where that is not the number of
    images. Where there is no room for all, those of `SPARE` are left out, and named below.
    """

    def __init__(self, view: RunView) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sites = [site for _, site in sorted(self._view.sites.items())]
        missing = 0 if self._view.over else self._view.unheard
        more = f"({missing} more)" if missing else ""
        never = Text("never heard of", "yellow")
        state = never if self._view.missing else Text("not heard of yet", "dim")
        columns = {name: [figure(site) for site in sites] for name, figure in FIGURES.items()}
        if all(site.taught in (None, site.images) for site in sites):
            del columns["taught"]
        columns = {name: told for name, told in columns.items() if set(told) - {NOTHING}}
        names = max(map(cell_len, ("site", more, *(site.name for site in sites))))
        states = [*(len(site.state) for site in sites), len(state) if more else 0]
        least = min(STATE, max(states))
        shown = _fitting(columns, options.max_width - names - least - GAP)
        table = Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False)
        table.add_column("site", no_wrap=True)
        table.add_column("state", min_width=least, max_width=60, overflow="fold")
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True)
        for at, site in enumerate(sites):
            style = "bold red" if site.wrong else STYLES.get(site.state, "yellow")
            figures = (told[at] for told in shown.values())
            table.add_row(Text(site.name), Text(site.state, style), *figures)
        if more:
            table.add_row(Text(more, "dim"), state)
        yield table
        if left := [name for name in columns if name not in shown]:
            yield Text(f"(no room for {', '.join(left)})", "dim")


def _fitting(columns: Mapping[str, Sequence[str]], room: int) -> dict[str, Sequence[str]]:
    """Columns without those of `SPARE` that so many characters have no room for."""
    shown = dict(columns)
    for name in SPARE:
        widths = (max(map(cell_len, (*name.split("\n"), *told))) for name, told in shown.items())
        if sum(width + GAP for width in widths) <= room:
            break
        shown.pop(name, None)
    return shown


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"
