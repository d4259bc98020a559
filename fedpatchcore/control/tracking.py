"""Finished runs logged to an MLflow server as well: settings, figures a round, the report.

Needs the extra ``mlflow``. Each run is logged once, under an experiment of its own name; what
cannot be sent now is tried again, and costs the control room nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import select

from fedpatchcore.control.looked import opened
from fedpatchcore.control.tables import Run, RunDetail, TrackedRun
from fedpatchcore.errors import ConfigError, ControlError, RunError
from fedpatchcore.runs.events import from_line
from fedpatchcore.texts import one_line
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import now

__all__ = ["EXPERIMENT", "Tracker", "figures"]

EXPERIMENT = "fedpatchcore"
ITSELF = Actor("control room")
ARTEFACTS = ("report.html", "metrics.json")
AT_ONCE = 20  # runs a look
VALUE = 500  # characters of a setting
BATCH = 90  # settings or figures in a call


class Tracker:
    """Logs what the mirror has seen finished.

    Args:
        place: of an MLflow server (``https://…``), or a folder.

    Raises:
        ConfigError: the extra is not installed.
    """

    def __init__(self, place: str, root: Path, database: Database, trail: Trail) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError:
            raise ConfigError(
                "MLflow is not installed: pip install 'fedpatchcore[mlflow]'"
            ) from None
        if "://" not in place:
            place = Path(place).expanduser().absolute().as_uri()
        self.place = place
        self.root = root
        self.database = database
        self.trail = trail
        self._client = MlflowClient(tracking_uri=place)

    def look(self) -> int:
        """Log finished runs that were not yet; how many. Raises ControlError."""
        with self.database.read() as session:
            done = select(TrackedRun.run_id)
            some = select(Run, RunDetail).join(RunDetail, RunDetail.run_id == Run.id)
            some = some.where(Run.state == "finished", Run.id.not_in(done))
            found = session.execute(some.order_by(Run.id).limit(AT_ONCE)).all()
        for run, detail in found:
            try:
                number = self._log(run, detail.settings)
            except Exception as error:  # whatever the server or the network makes of it
                why = one_line(error, 200) or type(error).__name__
                raise ControlError(
                    f"{run.folder} cannot be logged to {self.place}: {why}"
                ) from None
            with self.database.write() as session:
                session.add(TrackedRun(run_id=run.id, at=now(), mlflow=number))
                self.trail.add(session, ITSELF, "run.logged", run.folder, after=number)
            self.trail.note_head()
        return len(found)

    def _log(self, run: Run, settings: Mapping[str, Any]) -> str:
        client = self._client
        known = client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT)
        made = client.create_run(experiment, start_time=run.begun_at, run_name=run.folder)
        number = made.info.run_id
        try:
            self._fill(number, run, settings)
        except BaseException:
            with suppress(Exception):  # a half of it is no run: it is logged anew
                client.delete_run(number)
            raise
        client.set_terminated(number, "FINISHED", run.told_at)
        return number

    def _fill(self, number: str, run: Run, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        client = self._client
        params = [Param(_key(k), one_line(v, VALUE)) for k, v in settings.items()]
        for at in range(0, len(params), BATCH):
            client.log_batch(number, params=params[at : at + BATCH])
        told = [Metric(_key(k), v, run.told_at, step) for k, v, step in self._figures(run)]
        for at in range(0, len(told), BATCH):
            client.log_batch(number, metrics=told[at : at + BATCH])
        tags = {"fedpatchcore.folder": run.folder, "fedpatchcore.started_by": run.origin}
        client.log_batch(number, tags=[RunTag(k, v or "command line") for k, v in tags.items()])
        for name in ARTEFACTS:
            file = self.root / run.folder / name
            if file.is_file() and not file.is_symlink():
                client.log_artifact(number, str(file))

    def _figures(self, run: Run) -> list[tuple[str, float, int]]:
        try:
            with opened(self.root, run.folder, "events.jsonl") as file:
                lines = [line.decode(errors="replace") for line in file]
        except RunError:
            return []
        return list(figures(filter(None, map(from_line, lines))))


def figures(events: Iterator[Mapping[str, Any]]) -> Iterator[tuple[str, float, int]]:
    """``(name, value, round)`` of a run's events: the bank, and each site's AUROC by product."""
    by_round: dict[int, list[float]] = {}
    for event in events:
        number = event.get("round")
        if not isinstance(number, int):
            continue
        if event["event"] == "merged":
            for key in ("rows", "bytes", "seconds"):
                if (value := _number(event.get(key))) is not None:
                    yield f"bank_{key}", value, number
        if event["event"] == "evaluated":
            told = event.get("image_auroc")
            for product, value in told.items() if isinstance(told, Mapping) else ():
                if (value := _number(value)) is not None:
                    by_round.setdefault(number, []).append(value)
                    yield f"image_auroc/{product}/{event.get('site')}", value, number
    for number, values in by_round.items():
        yield "image_auroc_mean", math.fsum(values) / len(values), number


def _number(told: object) -> float | None:
    plain = isinstance(told, int | float) and not isinstance(told, bool) and math.isfinite(told)
    return float(told) if plain else None


def _key(name: str) -> str:
    """A name as MLflow takes it."""
    return re.sub(r"[^\w./ :-]", "_", name, flags=re.ASCII)[:250]
