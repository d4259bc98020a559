"""Which values of a picture are black and white, where its file cannot tell.

A camera of 10 or 12 bits in a file of 16 fills its lowest values alone, and floating-point samples
have no range at all. ``value-range`` names it once for all sites: ``10bit``, ``0..1023``,
``0.0..1.0``. It concerns files of 16-bit, 32-bit and floating-point samples; those of 8 bits are
read as ever.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from fedpatchcore.errors import ConfigError

__all__ = ["ValueRange", "canonical", "parse_range"]

_BITS = re.compile(r"(\d{1,2}) ?-?bits?")


class ValueRange(NamedTuple):
    """Values shown as black and as white."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{_plain(self.low)}..{_plain(self.high)}"


def parse_range(text: str) -> ValueRange | None:
    """``10bit`` or ``0..1023`` → range; "" → None.

    Raises:
        ConfigError: neither, or a range that is empty, turned over or not finite.
    """
    text = text.strip()
    if not text:
        return None
    if bits := _BITS.fullmatch(text.lower()):
        if not 8 <= int(bits[1]) <= 16:
            raise ConfigError(f"value-range='{text}': bits go from 8 to 16")
        return ValueRange(0.0, float(2 ** int(bits[1]) - 1))
    low, dots, high = text.partition("..")
    try:
        found = ValueRange(float(low), float(high))
    except ValueError:
        found = None
    if found is None or not dots:
        raise ConfigError(
            f"value-range='{text}' is no range: write 10bit, 12bit, 0..1023 or 0.0..1.0"
        )
    if not (math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high):
        raise ConfigError(f"value-range='{text}': the second value must be the larger one")
    return found


def canonical(text: str) -> str:
    """One text for each range: ``10bit`` is ``0..1023``. Raises ConfigError as `parse_range`."""
    found = parse_range(text)
    return str(found) if found else ""


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
