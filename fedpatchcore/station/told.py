"""What is told of an image: one JSON object, a row of a CSV file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fedpatchcore.data.tables import no_formula
from fedpatchcore.station.benches import margin_of
from fedpatchcore.station.tables import Inspection

__all__ = ["COLUMNS", "as_json", "as_row", "iso"]

COLUMNS = (
    "id",
    "image",
    "product",
    "station",
    "arrived",
    "judged",
    "state",
    "verdict",
    "score",
    "threshold",
    "threshold_by",
    "margin",
    "regions",
    "bank",
    "judged_by",
    "milliseconds",
    "said",
    "error",
)


def iso(at: int | None) -> str | None:
    """Milliseconds since 1970 in ISO 8601, UTC."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


def as_json(one: Inspection, station: str) -> dict[str, Any]:
    """Verdict, score, threshold, margin, regions in the image's own pixels, bank, station, times.

    ``margin`` is how far the score lies above the threshold, as a share of it: −0.2 is well
    within, 0.2 well beyond. ``threshold_by`` is "bank", or "person:3" of the threshold that a
    person chose as the third. ``said`` is the last word of a person, if there is one.
    """
    margin = None
    if one.score is not None and one.threshold is not None:
        margin = margin_of(one.score, one.threshold)
    return {
        "id": one.id,
        "image": one.source,
        "sha256": one.digest,
        "product": one.product,
        "station": station,
        "state": one.state,
        "verdict": one.verdict or None,
        "score": one.score,
        "threshold": one.threshold,
        "threshold_by": None if one.threshold is None else one.threshold_by or "bank",
        "margin": margin,
        "regions": one.regions,
        "size": [one.width, one.height],
        "bank": one.bank or None,
        "judged_by": one.judged_by or None,
        "arrived": iso(one.arrived_at),
        "judged": iso(one.judged_at),
        "milliseconds": one.milliseconds,
        "waited_milliseconds": one.waited,
        "said": one.said or None,
        "error": one.error or None,
    }


def as_row(one: Inspection, station: str) -> dict[str, Any]:
    """As `as_json`, for a spreadsheet: texts that begin like a formula are quoted."""
    told = as_json(one, station)
    told["regions"] = len(one.regions or [])
    return {
        key: no_formula(told[key]) if isinstance(told[key], str) else told[key] for key in COLUMNS
    }
