"""The station's look: its own templates over those of all pages, in the caller's language."""

from __future__ import annotations

from datetime import datetime

from fedpatchcore.station.colours import gauge
from fedpatchcore.station.numerals import numerals_of
from fedpatchcore.station.roles import allows
from fedpatchcore.station.speech import LANGUAGES, speech_of
from fedpatchcore.web.render import Look

__all__ = ["LOOK", "clock", "day_of"]


def clock(at: int | None) -> str:
    """Milliseconds since 1970 as ``14:03:59`` in the station's own time; a dash for none."""
    return f"{datetime.fromtimestamp(at / 1000):%H:%M:%S}" if at else "–"


def moment(at: int | None) -> str:
    """Milliseconds since 1970 as ``2026-01-31 14:03`` in the station's own time."""
    return f"{datetime.fromtimestamp(at / 1000):%Y-%m-%d %H:%M}" if at else "–"


def day_of(at: int | None) -> str:
    """Milliseconds since 1970 as ``2026-01-31`` in the station's own time; a dash for none."""
    return f"{datetime.fromtimestamp(at / 1000):%Y-%m-%d}" if at else "–"


LOOK = Look(
    "fedpatchcore.station",
    own=("station.css", "station.js"),
    more={
        "allows": allows,
        "clock": clock,
        "moment": moment,
        "day_of": day_of,
        "languages": LANGUAGES,
        "gauge": gauge,
    },
    speech=speech_of,
    spoken=numerals_of,
)
