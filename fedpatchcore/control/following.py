"""One run folder as a snapshot: what its events told so far, read on from where it was read to."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpatchcore.control.looked import MOST, opened, read_bounded
from fedpatchcore.errors import RunError
from fedpatchcore.metrics import Rate
from fedpatchcore.runs.events import from_line
from fedpatchcore.runs.siteview import SiteView
from fedpatchcore.runs.watch import RunView
from fedpatchcore.texts import NAME, one_line
from fedpatchcore.web.moments import milliseconds

__all__ = ["Following"]

IDENTITY = ".identity"


@dataclass
class Following:
    """A run folder that is read again and again, each event once.

    Attributes:
        calls: ``site`` events, the last of each site: what it told at the roll call.
    """

    root: Path
    folder: str
    view: RunView = field(default_factory=RunView)
    flower: str = ""
    begun: int | None = None
    told: int | None = None
    calls: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    _read: int = 0
    _inode: int = 0

    def read_on(self) -> bool:
        """Take in whole lines that came since; True if there were any.

        A file that is another one now, or shorter, is read from its beginning. Raises RunError if
        it is no file of events.
        """
        with opened(self.root, self.folder, "events.jsonl") as file:
            told = os.fstat(file.fileno())
            if told.st_size > MOST:
                raise RunError(f"its events.jsonl is larger than {MOST / 1e6:.0f} MB")
            if told.st_ino != self._inode or told.st_size < self._read:
                self._forget(told.st_ino)
            file.seek(self._read)
            data = file.read(MOST)
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._take(line.decode(errors="replace"))
        self._read += len(whole)
        return bool(whole)

    def _forget(self, inode: int) -> None:
        again = Following(self.root, self.folder)
        vars(self).update(vars(again))
        self._inode = inode

    def _take(self, line: str) -> None:
        event = from_line(line)
        if event is None:
            return
        if event["event"] == "started":  # the folder's name is used anew, or the run is resumed
            self.flower = str(event.get("run") or "")
            if not event.get("resumed_after"):
                self.view, self.calls = RunView(), {}
                self.begun = milliseconds(event.get("time"))
        self.view.take(event)
        moment = milliseconds(event.get("time"))
        if moment is not None:
            self.begun = self.begun or moment
            self.told = max(self.told or moment, moment)
        if site := event.get("site"):
            if event["event"] == "site":
                self.calls[site] = event
            if moment is not None and event["event"] not in ("lost", "gone"):
                self.seen[site] = max(self.seen.get(site, 0), moment)

    def identity(self) -> str:
        """What tells this run from another that had the folder's name before."""
        try:
            data = read_bounded(self.root, self.folder, IDENTITY, 200)
        except RunError:
            return ""
        return one_line(data.decode(errors="replace"), 64)

    @property
    def state(self) -> str:
        """``finished``, ``failed`` or ``running``."""
        if self.view.over:
            return "failed" if self.view.failed else "finished"
        return "running"

    @property
    def wrong(self) -> int:
        """Sites that were lost or refused, or went away."""
        return sum(1 for s in self.view.sites.values() if s.wrong or s.away)

    @property
    def auroc(self) -> float | None:
        """Mean over sites of the federated image AUROC; None where undefined."""
        told = [s.image_auroc for s in self.view.sites.values()]
        figures = [one for one in told if one is not None]
        return math.fsum(figures) / len(figures) if figures else None

    def verdicts(self) -> tuple[list[int] | None, list[int] | None]:
        """``[defects found, defects]``, ``[good stopped, good]`` of all sites; None: not told."""
        told = [one for s in self.view.sites.values() if (one := s.verdict)]
        if not told:
            return None, None
        found, stopped = [one.found for one in told], [one.stopped for one in told]
        return _together(found), _together(stopped)

    def table(self) -> list[dict[str, Any]]:
        """A row a site, in the order of their names."""
        return [_row(self.view.sites[name]) for name in sorted(self.view.sites)]

    def results(self) -> list[dict[str, Any]]:
        """The result table, null where undefined."""
        return [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()}
            for r in self.view.rows
        ]


def _together(rates: Sequence[Rate]) -> list[int]:
    return [sum(one.count for one in rates), sum(one.of for one in rates)]


def _row(site: SiteView) -> dict[str, Any]:
    verdict = site.verdict
    return {
        "site": one_line(site.name, NAME),
        "state": site.state,
        "bad": site.wrong or site.away,
        "images": site.images,
        "taught": site.taught,
        "rows": site.rows,
        "megabytes": site.megabytes,
        "seconds": site.seconds,
        "epsilon": site.epsilon,
        "auroc": site.image_auroc,
        "found": [verdict.found.count, verdict.found.of] if verdict else None,
        "stopped": [verdict.stopped.count, verdict.stopped.of] if verdict else None,
    }
