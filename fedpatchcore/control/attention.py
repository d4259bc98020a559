"""What needs a person, worst first, each with the page where it is seen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedpatchcore.control.tables import Run, RunDetail, Site
from fedpatchcore.web.moments import now

__all__ = ["Matter", "matters"]

SILENT = 15 * 60_000  # milliseconds
NEARLY = 0.9  # of a privacy budget
LISTED = 12


@dataclass(frozen=True)
class Matter:
    """One line of the list.

    Attributes:
        grave: work stands still, or a promise is at stake.
    """

    words: str
    link: str
    grave: bool = False


def matters(
    sites: Sequence[Site],
    runs: Sequence[Run],
    newest: RunDetail | None,
    aliases: Mapping[str, Mapping[str, int]],
) -> list[Matter]:
    """From what the overview shows anyway.

    Args:
        runs: the last ones, newest first.
        newest: details of the newest run.
        aliases: ``{product: {alias: version}}``.
    """
    found = [*_runs(runs), *_budgets(newest)]
    bad = [s for s in sites if s.state.startswith(("LOST", "REJECTED", "GONE"))]
    found += [
        Matter(f"{s.name}: {s.state}", f"/runs/{s.run_id}", grave=s.state.startswith("GONE"))
        for s in bad
        if runs and s.run_id == runs[0].id
    ]
    waiting = {p: a["candidate"] for p, a in aliases.items() if "candidate" in a}
    found += [
        Matter(
            f"{product}: bank {version} waits for a release", f"/banks/{version}?product={product}"
        )
        for product, version in sorted(waiting.items())
    ]
    for site in sites:
        for product, version in sorted(site.judges.items()):
            held = aliases.get(product, {}).get("production")
            if held is not None and held != version:
                words = f"{site.name} judges {product} by bank {version}, in production is {held}"
                found.append(Matter(words, f"/banks/{held}?product={product}"))
    found.sort(key=lambda one: not one.grave)
    more = len(found) - LISTED
    return found[:LISTED] + ([Matter(f"and {more} more", "/runs")] if more > 0 else [])


def _runs(runs: Sequence[Run]) -> list[Matter]:
    found = []
    if runs and runs[0].state in ("failed", "unreadable"):
        words = f"run {runs[0].folder}: {runs[0].headline}"
        found.append(Matter(words, f"/runs/{runs[0].id}", grave=True))
    for run in runs:
        quiet = now() - run.told_at
        if run.state in ("running", "submitted") and quiet > SILENT:
            words = f"run {run.folder} has told nothing for {quiet // 60_000} minutes"
            found.append(Matter(words, f"/runs/{run.id}", grave=True))
    return found


def _budgets(newest: RunDetail | None) -> list[Matter]:
    if newest is None:
        return []
    budget = newest.settings.get("dp-budget-epsilon")
    if not isinstance(budget, int | float) or budget <= 0:
        return []
    return [
        Matter(
            f"{row['site']}: ε {row['epsilon']:.3g} of {budget:.3g} is spent",
            f"/runs/{newest.run_id}",
        )
        for row in newest.table
        if row["epsilon"] is not None and row["epsilon"] >= NEARLY * budget
    ]
