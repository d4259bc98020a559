"""Runs that start by themselves: at times, when sites report so many new images, or both.

A schedule is a row: it survives a restart. Times are five fields as in crontab, UTC, by
APScheduler's trigger; its own job stores keep pickles, and Flower's automations repeat a run at a
fixed interval whatever is the matter, so neither decides here. What is due starts a run as a
person would, or is skipped with a reason that stands on the page and in the trail.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fedpatchcore.config import RunConfig
from fedpatchcore.control.starting import GOING, Starter
from fedpatchcore.control.tables import Run, Schedule, Site
from fedpatchcore.errors import ConfigError, ControlError, FedPatchCoreError
from fedpatchcore.texts import is_name
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import now

__all__ = ["Schedules", "next_time"]

LATE = 3600_000  # milliseconds: what was due longer ago is not made up for
MOST = 100
MOST_IMAGES = 10**9


def next_time(cron: str, after: int) -> int:
    """The next moment, ms since 1970, that five crontab fields name. Raises ConfigError."""
    try:
        trigger = CronTrigger.from_crontab(cron, timezone=UTC)
    except (ValueError, IndexError):
        raise ConfigError(
            f"{cron[:60]!r} is no time: five fields as in crontab (UTC), 0 2 * * * is nightly at 2"
        ) from None
    found = trigger.get_next_fire_time(None, datetime.fromtimestamp(after / 1000 + 0.001, UTC))
    if found is None:
        raise ConfigError(f"{cron[:60]!r} never comes")
    return round(found.timestamp() * 1000)


class Schedules:
    """All schedules of one room."""

    def __init__(self, database: Database, trail: Trail, starter: Starter) -> None:
        self.database = database
        self.trail = trail
        self.starter = starter

    def add(
        self, actor: Actor, name: str, settings: Mapping[str, Any], cron: str, images: int
    ) -> int:
        """A new schedule; its number.

        Args:
            settings: of its runs, as they differ from the defaults.
            cron: five crontab fields, UTC; empty: as soon as there are ``images``.
            images: new images that it takes; 0: it starts whatever came.

        Raises:
            ConfigError: a setting, the name or the time; ControlError: it is there already.
        """
        if not is_name(name, 60) or "/" in name or name.startswith("."):
            raise ConfigError("a schedule has a plain name, without a dot before it")
        if not cron and not images:
            raise ConfigError("a schedule takes a time, a number of new images, or both")
        if not 0 <= images <= MOST_IMAGES:
            raise ConfigError(f"new images: 0 to {MOST_IMAGES}")
        RunConfig.parse(dict(settings), where="settings")
        due = next_time(cron, now()) if cron else None
        with self.database.write() as session:
            going = list(session.scalars(select(Schedule).where(Schedule.ended_at.is_(None))))
            if any(one.name == name for one in going):
                raise ControlError(f"there is a schedule {name!r} already: end it first")
            if len(going) >= MOST:
                raise ControlError(f"at most {MOST} schedules at a time")
            made = Schedule(
                name=name,
                settings=dict(settings),
                cron=cron,
                images=images,
                who=actor.name,
                made_at=now(),
                next_at=due,
                seen_images=_images(session),
            )
            session.add(made)
            session.flush()
            after = {"cron": cron, "images": images, "settings": dict(settings)}
            self.trail.add(session, actor, "schedule.made", name, after=after)
        self.trail.note_head()
        return made.id

    def end(self, actor: Actor, schedule_id: int) -> None:
        """It starts nothing any more. Raises ControlError."""
        with self.database.write() as session:
            found = session.get(Schedule, schedule_id)
            if found is None or found.ended_at is not None:
                raise ControlError(f"there is no schedule {schedule_id}")
            found.ended_at, found.next_at = now(), None
            self.trail.add(session, actor, "schedule.ended", found.name)
        self.trail.note_head()

    def look(self) -> int:
        """Start what is due; returns how many runs were started."""
        with self.database.read() as session:
            going = list(session.scalars(select(Schedule).where(Schedule.ended_at.is_(None))))
            images = _images(session)
        return sum(self._look(one, images) for one in going)

    def _look(self, one: Schedule, images: int) -> bool:
        at, fresh = now(), max(0, images - one.seen_images)
        if one.cron:
            if one.next_at is None or at < one.next_at:
                return False
        elif fresh < one.images:
            return False
        why = self._why_not(one, at, fresh)
        if why and not one.cron and why == one.last:
            return False  # still the same reason: told once
        started = ""
        if not why:
            name = f"{one.name}-{datetime.fromtimestamp(at / 1000, UTC):%Y%m%d-%H%M%S}"
            try:
                self.starter.start(Actor(f"schedule {one.name}"), one.settings, name)
                started = name
            except FedPatchCoreError as error:
                why = str(error)
        self._note(one, at, started, why, images)
        return bool(started)

    def _why_not(self, one: Schedule, at: int, fresh: int) -> str:
        """Why what is due is not started; empty if nothing speaks against it."""
        if one.next_at is not None and at - one.next_at > LATE:
            due = datetime.fromtimestamp(one.next_at / 1000, UTC)
            return f"the control room was away at {due:%Y-%m-%d %H:%M}"
        if fresh < one.images:
            return f"{fresh} new images since its last run, it takes {one.images}"
        with self.database.read() as session:
            going = select(Run.folder).where(Run.state.in_(GOING)).limit(1)
            if (run := session.scalar(going)) is not None:
                return f"run {run} is in progress"
        try:
            online = self.starter.flower.online()
        except FedPatchCoreError as error:
            return str(error)
        least = RunConfig.parse(dict(one.settings), where="settings").min_sites
        if online is not None and online < least:
            return f"{online} sites are online, the run takes {least}"
        return ""

    def _note(self, one: Schedule, at: int, started: str, why: str, images: int) -> None:
        with self.database.write() as session:
            row = session.get(Schedule, one.id)
            if row is None or row.ended_at is not None:
                return
            row.last_at, row.last = at, why or f"started {started}"
            if row.cron:
                row.next_at = next_time(row.cron, at)
            if started:
                row.seen_images = images
            what = "schedule.started" if started else "schedule.skipped"
            self.trail.add(session, Actor("schedule"), what, row.name, after=started or why)
        self.trail.note_head()


def _images(session: Session) -> int:
    """Training images of all sites, as they told last."""
    return int(session.scalar(select(func.coalesce(func.sum(Site.images), 0))) or 0)
