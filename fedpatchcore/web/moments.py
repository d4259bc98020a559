"""Moments as the data bases keep them: milliseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["DAY", "milliseconds", "now"]

DAY = 86_400_000  # milliseconds


def now() -> int:
    """This moment, in milliseconds since 1970."""
    return round(datetime.now(UTC).timestamp() * 1000)


def milliseconds(told: object) -> int | None:
    """A moment in ISO 8601 as milliseconds since 1970; None for what is none."""
    try:
        moment = datetime.fromisoformat(str(told))
    except ValueError:
        return None
    if not 1970 < moment.year < 9000:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
