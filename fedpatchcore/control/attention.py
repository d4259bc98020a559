"""What needs a person, worst first, each with the page where it is seen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpatchcore.control.tables import Alarm, Run, RunDetail, Schedule, Site
from fedpatchcore.deploy.certs import read_certificate
from fedpatchcore.errors import CertificateError
from fedpatchcore.report.words import seconds
from fedpatchcore.web.moments import now

__all__ = ["Matter", "certificate_matters", "matters"]

SILENT = 15 * 60_000  # milliseconds
NEARLY = 0.9  # of a privacy budget
ENDS_SOON = 30  # days that a certificate lasts
ONE_BY_ONE = 3  # sites of which the same is to be said


@dataclass(frozen=True)
class Matter:
    """One line of the list.

    Attributes:
        grave: work stands still, or a promise is at stake.
        alarm: the number of a site's alarm, which a person may see to here.
    """

    words: str
    link: str
    grave: bool = False
    alarm: int = 0


def matters(
    sites: Sequence[Site],
    runs: Sequence[Run],
    newest: RunDetail | None,
    aliases: Mapping[str, Mapping[str, int]],
    alarms: Sequence[Alarm] = (),
    schedules: Sequence[Schedule] = (),
) -> list[Matter]:
    """From what the overview shows anyway; all of them, the grave ones first.

    Args:
        runs: the last ones, newest first.
        newest: details of the newest run.
        aliases: ``{product: {alias: version}}``.
        alarms: those that nobody has seen to.
        schedules: those that have not ended.
    """
    found = [*_runs(runs), *_alarms(alarms), *_budgets(newest)]
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
    found += [
        Matter(f"schedule {one.name} was skipped: {one.last}", "/schedules")
        for one in schedules
        if one.last and not one.last.startswith("started ")
    ]
    found += [*_behind(sites, aliases), *_absent(sites, runs)]
    return sorted(found, key=lambda one: not one.grave)


def _behind(sites: Sequence[Site], aliases: Mapping[str, Mapping[str, int]]) -> list[Matter]:
    """Sites that judge by another bank than the one in production; of many their number."""
    behind: dict[str, list[tuple[str, int]]] = {}
    for site in sites:
        for product, version in site.judges.items():
            if aliases.get(product, {}).get("production", version) != version:
                behind.setdefault(product, []).append((site.name, version))
    found = []
    for product, told in sorted(behind.items()):
        held = aliases[product]["production"]
        words = [
            f"{name} judges {product} by bank {version}, in production is {held}"
            for name, version in told
        ]
        if len(words) > ONE_BY_ONE:
            words = [f"{len(words)} sites judge {product} by another bank than {held}"]
        found += [Matter(one, f"/banks/{held}?product={product}") for one in words]
    return found


def _absent(sites: Sequence[Site], runs: Sequence[Run]) -> list[Matter]:
    """Sites that answered a roll call before and not that of the last run that is over."""
    last = next((run for run in runs if run.state in ("finished", "failed")), None)
    if last is None or (runs and runs[0] is not last):
        return []
    names = [site.name for site in sites if 0 < site.called_at < last.begun_at]
    if len(names) > ONE_BY_ONE:
        return [Matter(f"{len(names)} sites took no part in run {last.folder}", f"/runs/{last.id}")]
    words = f"took no part in run {last.folder}"
    return [Matter(f"{name} {words}", f"/runs/{last.id}") for name in names]


def _runs(runs: Sequence[Run]) -> list[Matter]:
    found = []
    if runs and runs[0].state in ("failed", "unreadable"):
        words = f"run {runs[0].folder}: {runs[0].headline}"
        found.append(Matter(words, f"/runs/{runs[0].id}", grave=True))
    for run in runs:
        quiet = now() - run.told_at
        if run.state in ("running", "submitted") and quiet > SILENT:
            words = f"run {run.folder} has told nothing for {seconds(quiet // 1000)}"
            found.append(Matter(words, f"/runs/{run.id}", grave=True))
    return found


def _alarms(alarms: Sequence[Alarm]) -> list[Matter]:
    return [
        Matter(
            f"{one.site}{f', {one.product}' if one.product else ''}: {one.kind}: {one.words}"
            + f" ({one.times} times)" * (one.times > 1),
            f"/history?site={one.site}&product={one.product}",
            grave=True,
            alarm=one.id,
        )
        for one in alarms
    ]


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


def certificate_matters(files: Sequence[Path]) -> list[Matter]:
    """Certificates that end soon, have ended, or cannot be read."""
    found = []
    for file in files:
        try:
            left = read_certificate(file).days_left()
        except CertificateError as error:
            found.append(Matter(str(error), "/overview", grave=True))
            continue
        if left < 0:
            found.append(Matter(f"the certificate {file.name} has ended", "/overview", grave=True))
        elif left < ENDS_SOON:
            found.append(
                Matter(f"the certificate {file.name} ends in {left:.0f} days", "/overview")
            )
    return found
