"""Counts, shares, bytes and seconds as people read them."""

from __future__ import annotations

import math

from fedpatchcore.texts import one_line

__all__ = ["FURTHER", "amount", "percent", "reason_of", "seconds", "short", "size"]

FURTHER = {  # figures of a result beside image and pixel AUROC, as the report calls them
    "average_precision": "average precision",
    "f1_best": "best F1",
    "aupro": "AUPRO",
    "spro_001": "sPRO ≤ .01",
    "spro_005": "sPRO ≤ .05",
    "spro_01": "sPRO ≤ .1",
    "spro_03": "sPRO ≤ .3",
    "spro_1": "sPRO ≤ 1",
}


def amount(count: int, one: str, many: str = "") -> str:
    """``1 site``, ``2 sites``, ``1,000 rows``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 0) -> str:
    """A share in [0, 1] in per cent; "–" where undefined."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def size(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"


def seconds(value: float | None) -> str:
    """Seconds as people say them."""
    if value is None or not math.isfinite(value):
        return "–"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def short(name: str, limit: int) -> str:
    """A name on one line, cut to ``limit`` characters."""
    return one_line(name, limit)


def reason_of(error: Exception) -> str:
    """Why something could not be drawn, in one short line."""
    return one_line(f"{type(error).__name__}: {error}", 200)
