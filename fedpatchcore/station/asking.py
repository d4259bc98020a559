"""What can be asked of a station's data base, whether the station runs or not."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select

from fedpatchcore.errors import StationError
from fedpatchcore.station.banks import Banks
from fedpatchcore.station.place import Place
from fedpatchcore.station.queue import Queue
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Alarm, Inspection
from fedpatchcore.station.thresholds import chosen_for
from fedpatchcore.station.told import as_json, as_row, iso

__all__ = ["results_of", "state_of"]


def _opened(settings: StationSettings) -> Place:
    folder = settings.state_folder()
    if not (folder / "station.db").is_file():
        raise StationError(
            f"no station has run in {folder} yet: 'fedpatchcore station run' begins it"
        )
    return Place.open(folder)


def state_of(settings: StationSettings) -> dict[str, Any]:
    """Counts, the bank in use, whether a process runs. Raises StationError before the first run."""
    place = _opened(settings)
    try:
        used = Banks(place, settings).in_use()
        return {
            "station": settings.station,
            "running": place.running(),
            **Queue(place, ((), ())).counts(),
            "bank": used.digest if used else "",
            "judged_by": used.judged_by if used else "",
            "went_back": held.who if (held := Banks(place, settings).held()) else "",
            "thresholds": [
                f"{one.product}: {one.value:g} by {one.who} since {iso(one.at)}"
                for one in (
                    chosen_for(place, used.digest, used.own, used.judged_by) if used else ()
                )
            ],
            "drift_alarms": _alarms(place),
            "state": str(place.folder),
        }
    finally:
        place.close()


def _alarms(place: Place) -> list[str]:
    """``plate: focus since 2026-01-31T06:00:00.000+00:00``, of those that stand."""
    with place.database.read() as session:
        query = select(Alarm).where(Alarm.ended_at.is_(None)).order_by(Alarm.id)
        return [
            f"{one.product}: {one.cause} since {iso(one.begun_at)}"
            for one in session.scalars(query)
        ]


def results_of(
    settings: StationSettings,
    since: datetime | None,
    verdict: str,
    product: str,
    most: int,
    *,
    rows: bool,
) -> list[dict[str, Any]]:
    """The last images, the last first. Raises StationError before the first run."""
    place = _opened(settings)
    try:
        with place.database.read() as session:
            query = select(Inspection).order_by(Inspection.id.desc()).limit(most)
            if since is not None:
                query = query.where(Inspection.arrived_at >= since.timestamp() * 1000)
            if verdict:
                query = query.where(Inspection.verdict == verdict)
            if product:
                query = query.where(Inspection.product == product)
            found = list(session.scalars(query))
        tell = as_row if rows else as_json
        return [tell(one, settings.station) for one in found]
    finally:
        place.close()
