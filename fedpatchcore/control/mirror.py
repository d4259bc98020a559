"""The results folder, mirrored into the data base: runs, sites they called, banks they made.

The files are the truth: a control room that was away, or whose data base was lost, reads them
again and is where it was. A run started from the command line appears like any other.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedpatchcore.control.following import Following
from fedpatchcore.control.looked import folders, read_bounded, stamp
from fedpatchcore.control.registry import Registry
from fedpatchcore.control.tables import Run, RunDetail, Site
from fedpatchcore.control.ticking import Ticker
from fedpatchcore.errors import FedPatchCoreError, RunError
from fedpatchcore.report.words import reason_of
from fedpatchcore.texts import one_line
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import milliseconds, now

__all__ = ["OVER", "Mirror", "settings_of"]

COMMAND_LINE = Actor("command line")
OVER = ("finished", "failed", "stopped", "unreadable")
SETTINGS = 2**20  # bytes


class Mirror:
    """Looks at the results folder again and again.

    Attributes:
        version: goes up with every change: what live pages wait for.
        looked_at: when the folder was last gone through, ms since 1970; 0: never.
    """

    def __init__(
        self,
        root: Path,
        database: Database,
        registry: Registry,
        trail: Trail,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.root = root
        self.database = database
        self.registry = registry
        self.trail = trail
        self.say = say
        self.version = 0
        self.looked_at = 0
        self._following: dict[str, Following] = {}
        self._stamps: dict[str, str] = {}
        self._ticker: Ticker | None = None
        self._one_at_a_time = threading.Lock()
        with database.read() as session:
            told = select(Run.folder, Run.stamp).where(Run.state.in_(OVER)).order_by(Run.id)
            self._stamps = dict(session.execute(told).all())

    def start(self, every: float = 1.0) -> None:
        """Look every so many seconds, in a thread of its own."""
        self._ticker = Ticker(self.look, every, self.say)
        self._ticker.start()

    def stop(self) -> None:
        """End the thread."""
        if self._ticker:
            self._ticker.stop()

    def changed(self) -> None:
        """Something that live pages show has changed."""
        self.version += 1

    def look(self) -> int:
        """Take in what is new; returns how many runs changed. Raises RunError, ControlError."""
        with self._one_at_a_time:
            count = self._look()
        self.looked_at = now()
        if count:
            self.changed()
        return count

    def _look(self) -> int:
        count = 0
        for folder in sorted(folders(self.root)):
            mark = stamp(self.root, folder)
            if not mark or mark == self._stamps.get(folder):
                continue
            try:
                self._take(folder, mark)
            except FedPatchCoreError:  # of the data base: it is tried again, from the beginning
                self._following.pop(folder, None)
                raise
            except Exception as error:  # one folder does not keep the others from being seen
                self.say(f"! run {folder}: {reason_of(error)}")
                self._unreadable(folder, mark, reason_of(error))
            self._stamps[folder] = mark
            count += 1
        return count

    def _take(self, folder: str, mark: str) -> None:
        follow = self._following.setdefault(folder, Following(self.root, folder))
        why = ""
        try:
            follow.read_on()
        except RunError as error:
            why = str(error)
        new = False
        with self.database.write() as session:
            run, new = self._row(session, follow)
            run.stamp = mark
            if why:
                run.state, run.headline = "unreadable", why
            else:
                self._write(session, run, follow)
            if new:
                self.trail.add(session, COMMAND_LINE, "run.found", folder, after=run.state)
        if new:
            self.trail.note_head()
        if run.state in OVER:
            self._following.pop(folder, None)
        if run.state == "finished":
            self.registry.register(run, follow.results())

    def _unreadable(self, folder: str, mark: str, why: str) -> None:
        follow = self._following.pop(folder)
        with self.database.write() as session:
            run, _ = self._row(session, Following(follow.root, folder))
            run.stamp, run.state, run.headline = mark, "unreadable", why

    def _row(self, session: Session, follow: Following) -> tuple[Run, bool]:
        """The run's row, and whether nobody here has started it."""
        identity = follow.identity()
        known = session.scalars(
            select(Run).where(Run.folder == follow.folder).order_by(Run.id.desc()).limit(1)
        ).first()
        if known is not None and known.identity in ("", identity):
            known.identity = identity
            return known, False
        at = follow.begun or now()
        run = Run(folder=follow.folder, identity=identity, state="running", begun_at=at, told_at=at)
        session.add(run)
        session.flush()
        return run, True

    def _write(self, session: Session, run: Run, follow: Following) -> None:
        view = follow.view
        if not (run.state == "stopped" and follow.state == "running"):  # its last words
            run.state, run.headline = follow.state, view.headline()
        run.flower = follow.flower or run.flower
        run.begun_at = follow.begun or run.begun_at
        run.told_at = follow.told or run.told_at
        run.round, run.rounds = view.number, view.of
        run.seconds = view.elapsed() if view.over else 0.0
        run.sites, run.wrong, run.auroc = len(view.sites), follow.wrong, follow.auroc
        run.found, run.stopped = follow.verdicts()
        run.megabytes = sum(s.megabytes or 0 for s in view.sites.values())
        detail = session.get(RunDetail, run.id) or RunDetail(run_id=run.id)
        detail.settings = settings_of(self.root, run.folder)
        detail.table, detail.results = follow.table(), follow.results()
        detail.notes = view.notes()
        session.add(detail)
        self._sites(session, run, follow)

    def _sites(self, session: Session, run: Run, follow: Following) -> None:
        """What sites told, unless a later run has told more."""
        names = list(follow.view.sites)
        known: dict[str, Site] = {}
        for at in range(0, len(names), 500):
            some = select(Site).where(Site.name.in_(names[at : at + 500]))
            known |= {site.name: site for site in session.scalars(some)}
        for name, view in follow.view.sites.items():
            seen = follow.seen.get(name, 0)
            site = known.get(name)
            if site is None:
                site = Site(name=name, seen_at=seen, called_at=0, products=[], judges={})
                session.add(site)
            before, site.seen_at = site.seen_at, max(site.seen_at, seen)
            if site.run_id is None or run.begun_at >= site.called_at or site.run_id == run.id:
                site.run_id, site.state = run.id, one_line(view.state)
            call = follow.calls.get(name)
            later = run.begun_at == site.called_at and before < (_moment(call) or 0)
            if call and (run.begun_at > site.called_at or later):  # a site may have told more since
                site.called_at = run.begun_at
                site.products = list(call.get("products") or ())
                site.images = call.get("images") or None
                site.device = str(call.get("device") or "")
                site.library = str(call.get("version") or "")


def _moment(call: Mapping[str, Any] | None) -> int | None:
    return milliseconds(call.get("time")) if call else None


def settings_of(root: Path, folder: str) -> dict[str, Any]:
    """``config.json`` of a run, as far as it holds plain settings."""
    try:
        data = read_bounded(root, folder, "config.json", SETTINGS)
        told = json.loads(data, parse_constant=lambda name: None)
    except (RunError, ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    return {
        one_line(key, 100): one_line(value, 4096) if isinstance(value, str) else value
        for key, value in list(told.items())[:500]
        if isinstance(value, str | int | float) and key != "sha256"
    }
