"""A run as seen from outside: its events in, each site's state in plain words out.

`RunView` knows nothing of processes or consoles. Events may be given twice: counts are
kept by round and site, so a log read again from its beginning gives the same view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fedpatchcore.data.amounts import duration, seen_told, size
from fedpatchcore.metrics.comparison import METHODS
from fedpatchcore.runs.siteview import SiteView, figure
from fedpatchcore.runs.telling import hint
from fedpatchcore.runs.tidy import tidy
from fedpatchcore.texts import counted

__all__ = ["RunView"]

Event = Mapping[str, Any]
LATE = "late, not waited for"
OF_A_SITE = ("site", "trained", "evaluated", "lost", "rejected", "gone", "back", "later")


class RunView:
    """What is known of a run from its events so far.

    Args:
        expected: sites the run waits for; 0 where that is not known from outside.

    Attributes:
        sites: by name.
        rows: the result table, once the run has finished; NaN where undefined.
        failed: why the run failed, else empty.
        bank, report: paths on the server's disk, likewise; ``settings`` that a run has chosen.
    """

    def __init__(self, *, expected: int = 0) -> None:
        self.expected = expected
        self.sites: dict[str, SiteView] = {}
        self.rows: list[dict[str, Any]] = []
        self.number = self.of = 0
        self.failed = self.bank = self.report = self.settings = ""
        self._asked: list[str] = []
        self._chosen: list[str] = []
        self._phase = ""
        self._online = 0
        self._bank_rows = 0
        self._resumed = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._seconds: float | None = None

    def take(self, event: Event) -> None:
        """Take one event in, whatever it holds; one of an unknown kind is left aside."""
        event = tidy(event)
        self._clock(event.get("time"))
        what = event.get("event")
        handler = getattr(self, f"_on_{what}", None)
        if handler is not None and (what not in OF_A_SITE or event.get("site")):
            handler(event)

    # -- one method an event ----------------------------------------------------------

    def _on_started(self, event: Event) -> None:
        self._phase, self.failed, self._seconds = "started", "", None  # it may be resumed
        self._resumed = event.get("resumed_after") or 0

    def _on_waiting(self, event: Event) -> None:
        self._phase = "waiting"
        self._online = event.get("online") or 0
        self.expected = max(self.expected, event.get("wanted") or 0)

    def _on_site(self, event: Event) -> None:
        site = self._site(event)
        site.state, site.found = "waiting", event.get("images")
        seconds = (event.get("image_seconds") or 0) * (site.found or 0)
        site.expected = seconds, event.get("held") or event.get("features") or 0
        site.shown = event.get("shown") or 0.0

    def _on_round(self, event: Event) -> None:
        self._phase = "train"
        self.number = event.get("number") or 0
        self.of = event.get("of") or 0
        self._asked = list(event.get("sites") or ())
        self.expected = max(self.expected, event.get("wanted") or 0)
        told = event.get("chosen")
        self._chosen = self._asked if told is None else list(told)
        for name in {*self._asked, *self._chosen}:
            state = "extracting" if name in self._chosen else "passed over"
            self.sites.setdefault(name, SiteView(name)).state = state

    def _on_later(self, event: Event) -> None:
        self._site(event).state = str(event.get("reason") or "not now")

    def _on_closed(self, event: Event) -> None:
        for name in event.get("late") or ():
            self.sites.setdefault(name, SiteView(name)).state = LATE

    def _on_trained(self, event: Event) -> None:
        site = self._site(event)
        # without rounds a site may answer several times before a bank is made: each has its turn
        site.replies[event.get("turn") or event.get("round") or self.number] = event
        site.state = "nothing new" if event.get("kind") == "none" else "sent"

    def _on_merged(self, event: Event) -> None:
        self._phase = "evaluate"
        self._bank_rows = event.get("rows") or 0
        for name in self._asked:
            if not (self.sites[name].wrong or self.sites[name].away or self._aside(name)):
                self.sites[name].state = "evaluating"

    def _aside(self, name: str) -> bool:
        return self.sites[name].state == LATE or self.sites[name].state.startswith("not now")

    def _on_evaluated(self, event: Event) -> None:
        site = self._site(event)
        site.results[event.get("round") or self.number] = event
        if not site.wrong:
            site.state = "done"

    def _on_lost(self, event: Event) -> None:
        self._site(event).state = f"LOST: {event.get('reason')}"

    def _on_rejected(self, event: Event) -> None:
        self._site(event).state = f"REJECTED: {event.get('reason')}"

    def _on_gone(self, event: Event) -> None:
        self._site(event).state = f"GONE, waiting for it to come back: {event.get('reason')}"

    def _on_back(self, event: Event) -> None:
        site = self._site(event)
        site.state = {"train": "extracting", "evaluate": "evaluating"}.get(self._phase, "waiting")
        if site.found is None and not site.replies and site.name not in self._asked:
            del self.sites[site.name]  # a node without a name yet: it says it next

    def _on_checkpoint(self, event: Event) -> None:
        self._phase = "saved"

    def _on_finished(self, event: Event) -> None:
        self._phase = "finished"
        self._seconds = event.get("seconds")
        self.rows = [
            {**row, **{key: _nan(row.get(key)) for key in METHODS}}
            for row in event.get("rows") or ()
        ]
        self.bank, self.report = event.get("bank") or "", event.get("report") or ""
        self.settings = event.get("settings") or ""

    def _on_failed(self, event: Event) -> None:
        self.end(event.get("reason") or "no reason given")

    def end(self, reason: str) -> None:
        """The run is over without results: no site is at work any more."""
        self._phase, self.failed = "failed", reason
        for site in self.sites.values():
            if site.state in ("extracting", "evaluating") or site.away:
                site.state = "unfinished"

    # -- what people ask --------------------------------------------------------------

    @property
    def over(self) -> bool:
        """True once the ServerApp has told how it ended."""
        return self._phase in ("finished", "failed")

    @property
    def unheard(self) -> int:
        """Expected sites that have not been heard of at all."""
        known = sum(1 for s in self.sites.values() if s.found is not None or s.replies)
        return max(0, self.expected - max(known, 0 if self.sites else self._online))

    @property
    def missing(self) -> bool:
        """True once the server itself misses expected sites, or works without them."""
        begun = self.number > 0 or self._phase == "waiting"
        return begun and not self.over and self.unheard > 0

    def elapsed(self, now: datetime | None = None) -> float:
        """Seconds from the first event to the last if the run is over, else to ``now``."""
        if self._seconds is not None:
            return self._seconds
        if self._first is None or self._last is None:
            return 0.0
        end = self._last if self.over else max(self._last, now or datetime.now(UTC))
        return (end - self._first).total_seconds()

    def headline(self) -> str:
        """Where the run stands, in one line."""
        if self._phase == "failed":
            return f"FAILED: {self.failed}"
        if self._phase == "finished":
            return f"finished, {counted(self.of, 'round')}" if self.of else "finished"
        if self._phase == "waiting" and not self.number:
            return f"waiting for sites: {self._online} of {self.expected} online"
        where = f"round {self.number} of {self.of}"
        asked = [self.sites[name] for name in self._asked]
        wrong = sum(site.wrong for site in self.sites.values())
        tail = f", {wrong} lost or rejected" if wrong else ""
        if self._phase in ("train", "waiting"):
            train = [self.sites[name] for name in self._chosen]
            count = sum(site.state in ("sent", "nothing new") for site in train)
            return f"{where}: {count} of {len(train)} sites answered{tail}"
        if self._phase == "evaluate":
            count = sum(self.number in site.results for site in asked)
            return (
                f"{where}: bank of {self._bank_rows:,} rows, "
                f"{count} of {len(asked)} sites have evaluated it{tail}"
            )
        if self._phase == "saved":
            more = "" if self.number < self.of else ", writing the results"
            return f"{where}: complete{more}{tail}"
        if self.sites:
            return f"calling the roll: {counted(len(self.sites), 'site')} so far"
        if self._resumed:
            return f"resumed after round {self._resumed}, calling the sites"
        return "started, calling the sites" if self._phase else "the server has not begun yet"

    def outlook(self) -> str:
        """Before the first answer, what features are thought to take at the sites; "" after it."""
        told = [site for site in self.sites.values() if site.expected[0]]
        if not told or self.over or any(site.replies for site in self.sites.values()):
            return ""
        slow = max(told, key=lambda site: site.expected[0])
        large = max(told, key=lambda site: site.expected[1])
        return (
            f"features are thought to take {duration(slow.expected[0])} at {slow.name}, the "
            f"slowest site, and {size(large.expected[1])} of memory at {large.name}"
        )

    def notes(self) -> list[str]:
        """What is missing or went wrong, each with what helps where that is known."""
        told = []
        if self.missing:
            sites = counted(self.unheard, "expected site")
            told.append(f"{sites} never heard of: start the missing flower-supernode processes")
        if cropped := [site for site in self.sites.values() if seen_told(site.shown)]:
            least = min(cropped, key=lambda site: site.shown)
            told.append(f"{least.name}: {seen_told(least.shown)}; geometry='whole' shows all")
        for site in self.sites.values():
            if site.away:
                told.append(f"{site.name}: start its flower-supernode if it stays away")
            elif site.wrong and (fix := hint(site.state)):
                told.append(f"{site.name}: {fix}")
        return told

    # -- helpers ----------------------------------------------------------------------

    def _site(self, event: Event) -> SiteView:
        name = event["site"]
        return self.sites.setdefault(name, SiteView(name))

    def _clock(self, told: Any) -> None:
        try:
            moment = datetime.fromisoformat(str(told))
        except ValueError:
            return
        if not 1970 < moment.year < 9000:  # no clock says so, and the ends of time overflow
            return
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        self._first = min(self._first or moment, moment)
        self._last = max(self._last or moment, moment)


def _nan(value: Any) -> float:
    known = figure(value)
    return math.nan if known is None else known
