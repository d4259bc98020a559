"""Starting, stopping and resuming runs: checked as on the command line, handed to Flower.

A run that is started here gets its folder's name first and stands in the list from that moment;
from its first event on it is a run folder like any other.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import select

from fedpatchcore.config import RunConfig
from fedpatchcore.control.tables import Preset, Run, RunDetail
from fedpatchcore.errors import ConfigError, ControlError, FedPatchCoreError
from fedpatchcore.runs.flowercli import FlowerCli
from fedpatchcore.runs.launch import LocalFlower
from fedpatchcore.texts import is_name
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import now

__all__ = ["GOING", "OURS", "Flower", "Nowhere", "Simulation", "Starter", "SuperLink"]

OURS = ("out-dir", "run-name", "resume")  # the control room's own, not a form's
GOING = ("submitted", "running")


class Flower(Protocol):
    """Where runs go."""

    def submit(self, config: Mapping[str, Any]) -> str:
        """Hand a run over; its id."""

    def stop(self, run_id: str) -> None:
        """Ask for a run's end."""

    def online(self) -> int | None:
        """Sites that are connected now; None where that is not known before a run."""

    def close(self) -> None:
        """Let go of what was started."""


class Nowhere:
    """A control room without a connection: it shows, and starts nothing."""

    def submit(self, config: Mapping[str, Any]) -> str:
        """Raises ControlError."""
        raise ControlError("runs cannot be started here: give --connection or --simulate")

    def stop(self, run_id: str) -> None:
        """Raises ControlError."""
        raise ControlError("runs cannot be stopped here: give --connection or --simulate")

    def online(self) -> int | None:
        """Raises ControlError."""
        raise ControlError("runs cannot be started here: give --connection or --simulate")

    def close(self) -> None:
        """Nothing was started."""


class SuperLink:
    """A SuperLink that runs already, by its name in Flower's ``config.toml``."""

    def __init__(self, connection: str = "", program: Path | None = None) -> None:
        self.cli = FlowerCli(superlink=connection, program=program)
        self.cli.connection()  # Flower itself would start a simulation where nothing is configured

    def submit(self, config: Mapping[str, Any]) -> str:
        """Hand a run over; its id. Raises RunError."""
        return self.cli.submit(config)

    def stop(self, run_id: str) -> None:
        """Ask for a run's end. Raises RunError."""
        self.cli.stop(run_id)

    def online(self) -> int | None:
        """Registered sites whose node is connected. Raises RunError."""
        return sum(str(node.get("status")) == "online" for node in self.cli.nodes())

    def close(self) -> None:
        """The SuperLink is not ours."""


class Simulation:
    """Virtual sites on this machine, for a demonstration; started with the first run."""

    def __init__(self, sites: int, logs: Path) -> None:
        self.sites = sites
        self.logs = logs
        self._flower: LocalFlower | None = None

    def submit(self, config: Mapping[str, Any]) -> str:
        """Hand a run over; its id. Raises RunError."""
        if self._flower is None:
            self._flower = LocalFlower(simulation=True, logs=self.logs).__enter__()
        told = {"expected-sites": self.sites, "min-sites": min(2, self.sites)} | dict(config)
        return self._flower.submit(told, supernodes=self.sites)

    def stop(self, run_id: str) -> None:
        """Ask for a run's end. Raises RunError."""
        if self._flower is None:
            raise ControlError("this run was not started here")
        self._flower.cli.stop(run_id)

    def online(self) -> int | None:
        """All of them."""
        return self.sites

    def close(self) -> None:
        """Stop the SuperLink and what belongs to it."""
        if self._flower is not None:
            self._flower.stop()


class Starter:
    """Checks and hands over."""

    def __init__(self, root: Path, flower: Flower, database: Database, trail: Trail) -> None:
        self.root = root
        self.flower = flower
        self.database = database
        self.trail = trail

    def settings(self, fields: Mapping[str, str]) -> dict[str, Any]:
        """What differs from the defaults in a form; ConfigError as of `fedpatchcore run`."""
        known = RunConfig().table()
        table: dict[str, Any] = {}
        for key, text in fields.items():
            if key in OURS:
                raise ConfigError(f"{key}: the control room says it itself")
            value = _value(text.strip(), known.get(key, ""))
            if key not in known or value != known[key]:
                table[key] = value
        RunConfig.parse(table, where="settings")
        return table

    def start(self, actor: Actor, settings: Mapping[str, Any], name: str = "") -> int:
        """Start a run; its row. Raises ConfigError, ControlError, RunError."""
        name = name or f"{datetime.now():%Y%m%d-%H%M%S}"
        config = {**settings, "out-dir": str(self.root), "run-name": name}
        RunConfig.parse(config, where="settings")
        if not is_name(name) or name.startswith("."):
            raise ConfigError("run-name: a plain name, without a dot before it")
        if (self.root / name).exists():
            raise ConfigError(f"there is a run {name!r} already: take another name")
        with self.database.write() as session:
            if session.scalar(select(Run.id).where(Run.folder == name)):
                raise ConfigError(f"there is a run {name!r} already: take another name")
            run = Run(
                folder=name,
                origin=actor.name,
                state="submitted",
                begun_at=now(),
                told_at=now(),
                headline="handed to Flower",
            )
            session.add(run)
            session.flush()
            full = RunConfig.parse(config, where="settings").table()
            session.add(RunDetail(run_id=run.id, settings=full, table=[], results=[], notes=[]))
            self.trail.add(session, actor, "run.started", name, after=dict(settings))
        self.trail.note_head()
        self._submit(run.id, config)
        return run.id

    def _submit(self, run_id: int, config: Mapping[str, Any]) -> None:
        try:
            flower = self.flower.submit(config)
        except FedPatchCoreError as error:
            with self.database.write() as session:
                run = session.get(Run, run_id)
                run.state, run.headline = "failed", f"not started: {error}"
            raise
        with self.database.write() as session:
            session.get(Run, run_id).flower = flower

    def stop(self, actor: Actor, run_id: int) -> None:
        """Ask Flower to end a run; sites at work finish first. Raises ControlError, RunError."""
        run = self._run(run_id)
        if run.state not in GOING or not run.flower:
            raise ControlError(f"{run.folder} is not running")
        self.flower.stop(run.flower)
        with self.database.write() as session:
            row = session.get(Run, run_id)
            row.state, row.headline = "stopped", f"stopped by {actor.name}"
            self.trail.add(session, actor, "run.stopped", run.folder, before=run.state)
        self.trail.note_head()

    def resume(self, actor: Actor, run_id: int) -> None:
        """Go on with a run from its last complete round. Raises ControlError, RunError."""
        run = self._run(run_id)
        if run.state in (*GOING, "finished"):
            raise ControlError(f"{run.folder} is {run.state}: there is nothing to go on with")
        folder = self.root / run.folder
        if not (folder / "config.json").is_file():
            raise ControlError(f"{run.folder} has no config.json: start it anew")
        with self.database.read() as session:
            detail = session.get(RunDetail, run_id)
        known, told = RunConfig().table(), detail.settings if detail else {}
        config = {k: v for k, v in told.items() if k in known and v != known[k] and k not in OURS}
        config["resume"] = str(folder)
        RunConfig.parse(config, where="settings")
        with self.database.write() as session:
            row = session.get(Run, run_id)
            row.state, row.headline, row.stamp = "submitted", "handed to Flower again", ""
            self.trail.add(session, actor, "run.resumed", run.folder, before=run.state)
        self.trail.note_head()
        self._submit(run_id, config)

    def _run(self, run_id: int) -> Run:
        with self.database.read() as session:
            run = session.get(Run, run_id)
        if run is None:
            raise ControlError(f"there is no run {run_id}")
        return run

    def save_preset(self, actor: Actor, name: str, settings: Mapping[str, Any]) -> None:
        """Keep settings under a name; one of that name is replaced."""
        with self.database.write() as session:
            session.merge(Preset(name=name, settings=dict(settings), made_at=now(), who=actor.name))
            self.trail.add(session, actor, "preset.saved", name, after=dict(settings))
        self.trail.note_head()

    def remove_preset(self, actor: Actor, name: str) -> None:
        """Forget settings that were kept; runs and schedules have their own. ControlError."""
        with self.database.write() as session:
            found = session.get(Preset, name)
            if found is None:
                raise ControlError(f"there is no preset {name!r}")
            self.trail.add(session, actor, "preset.removed", name, before=found.settings)
            session.delete(found)
        self.trail.note_head()


def _value(text: str, default: Any) -> Any:
    """A field's text as the kind of value that its default is; what is none is refused later."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text, text)
    try:
        value = tomllib.loads(f"v = {text}")["v"] if "\n" not in text else text
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
