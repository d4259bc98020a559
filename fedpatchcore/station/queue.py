"""The queue: what waits, in the data base alone; one image at a time is taken from it and judged.

Before an image is judged the row says that it was begun. A process that dies over it begins it
again; after `LAST_IN_LINE` such deaths the image comes behind all others, and after `MOST_TRIES` it
is set aside by name: one that kills the process cannot stop the line, and one that lay there when
the process was killed for another reason is judged.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, insert, select, update

from fedpatchcore.station.benches import Bench, Judged, pack_scores
from fedpatchcore.station.place import Place
from fedpatchcore.station.tables import Inspection, Outgoing
from fedpatchcore.web.moments import now

__all__ = ["LAST_IN_LINE", "MOST_TRIES", "VERDICTS", "Job", "Queue"]

LAST_IN_LINE, MOST_TRIES = 3, 10
VERDICTS = {None: "undecided", True: "defect", False: "ok"}


@dataclass(frozen=True)
class Job:
    """An image that is to be judged."""

    id: int
    digest: str
    source: str
    product: str
    arrived_at: int
    begun: int


class Queue:
    """What waits at one station.

    Args:
        sends: kinds of messages that a verdict of ``defect`` sends out, and those that any does.
    """

    def __init__(self, place: Place, sends: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        self.place = place
        self._on_defect, self._on_any = sends

    def begin(self) -> Job | None:
        """The next image, noted as begun; None if none waits, which takes no writing."""
        while self._waits():
            with self.place.database.write(synced=False) as session:
                waiting = (
                    select(
                        Inspection.id,
                        Inspection.digest,
                        Inspection.source,
                        Inspection.product,
                        Inspection.arrived_at,
                        Inspection.begun,
                    )
                    .where(Inspection.state == "waiting")
                    .order_by(Inspection.urgent.desc(), Inspection.id)
                    .limit(1)
                )
                first = waiting.where(Inspection.begun < LAST_IN_LINE)
                row = session.execute(first).first() or session.execute(waiting).first()
                if row is None:
                    return None
                job = Job(*row)
                mine = update(Inspection).where(Inspection.id == job.id)
                if job.begun < MOST_TRIES:
                    session.execute(mine.values(begun=job.begun + 1))
                    return job
                session.execute(
                    mine.values(
                        state="failed",
                        judged_at=now(),
                        error=f"the station died {job.begun} times over it",
                    )
                )
            self.place.changed()
        return None

    def _waits(self) -> bool:
        with self.place.database.read() as session:
            mine = select(Inspection.id).where(Inspection.state == "waiting").limit(1)
            return session.scalar(mine) is not None

    def give_back(self, job: Job) -> None:
        """It was not its fault that it was not judged: it waits again."""
        with self.place.database.write() as session:
            mine = update(Inspection).where(Inspection.id == job.id)
            session.execute(mine.values(begun=job.begun))

    def failed(self, job: Job, why: str) -> None:
        """It cannot be judged."""
        with self.place.database.write() as session:
            session.execute(
                update(Inspection)
                .where(Inspection.id == job.id, Inspection.state == "waiting")
                .values(state="failed", error=why, judged_at=now(), begun=job.begun)
            )
            self._send(session, job.id, self._on_any)
        self.place.changed()

    def judged(self, job: Job, found: Judged, bench: Bench, why: Any) -> None:
        """Its verdict by a bench; what it sends out is noted in the same transaction."""
        prediction, at = found.prediction, now()
        verdict = VERDICTS[prediction.defective]
        limit = prediction.threshold
        values = {
            "state": "judged",
            "judged_at": at,
            "verdict": verdict,
            "score": prediction.score,
            "threshold": None if math.isnan(limit) else limit,
            "regions": [asdict(one) for one in prediction.regions],
            "width": prediction.image.width,
            "height": prediction.image.height,
            "bank": bench.digest,
            "own": bench.own_digest,
            "judged_by": bench.settings.judge_by,
            "milliseconds": found.milliseconds,
            "waited": float(max(0, at - job.arrived_at)),
            "uncovered": found.uncovered,
            "sharpness": found.looks.sharpness,
            "brightness": found.looks.brightness,
            "geometry": found.geometry,
            "patches": pack_scores(prediction.patches),
            "why": why,
            "begun": job.begun,
            "threshold_by": found.threshold_by,
        }
        with self.place.database.write() as session:
            changed = session.execute(
                update(Inspection)
                .where(Inspection.id == job.id, Inspection.state == "waiting")
                .values(values)
            )
            if changed.rowcount:
                kinds = self._on_any
                if verdict == "defect":
                    kinds = (*kinds, *self._on_defect)
                self._send(session, job.id, kinds)
        self.place.changed()

    def _send(self, session: Any, number: int, kinds: tuple[str, ...]) -> None:
        for kind in kinds:
            row = {"inspection_id": number, "kind": kind, "next_at": 0, "tries": 0, "error": ""}
            session.execute(insert(Outgoing).values(row))

    def counts(self) -> dict[str, int]:
        """Images by state, and judged ones by verdict."""
        with self.place.database.read() as session:
            states = session.execute(
                select(Inspection.state, Inspection.verdict, func.count()).group_by(
                    Inspection.state, Inspection.verdict
                )
            ).all()
        told = dict.fromkeys(("waiting", "failed", "ok", "defect", "undecided"), 0)
        for state, verdict, count in states:
            told[verdict or state] = told.get(verdict or state, 0) + count
        return told
