"""The likeliest cause of a change, by a rule that is told: the picture first, then the parts.

A dirty lens looks like a defect on every part, so what is known of the picture as a whole comes
first. In this order, of the parts since the change began against those of the reference:

1. *focus*: sharpness lies below, and is down by at least `BLURRED` more than brightness is. (Less
   light makes the steps between pixels smaller in the same ratio; a dirty lens, another focus and
   a moving part make them smaller alone.)
2. *light*: brightness lies apart.
3. *grain*: sharpness lies above: another focus, a camera's gain, a new lens.
4. *parts*: accepted parts have other scores, or more of their patches are unknown to the bank,
   though the picture is as before: another position, lot or variant.
5. *defects*: more parts are stopped and the accepted ones are as before.
6. *fewer*: fewer parts are stopped and the accepted ones are as before.

It is a rule over four numbers, no proof: light that falls from the side changes parts and picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BLURRED", "CAUSES", "CLEAR", "Moved", "likeliest"]

CAUSES = ("focus", "light", "grain", "parts", "defects", "fewer", "promise")
CLEAR = 1.5  # of the reference's scatter: the middle of recent parts lies apart
BLURRED = 0.15


@dataclass(frozen=True)
class Moved:
    """Where one figure of recent parts lies against its reference.

    Attributes:
        was, now: medians, in the figure's own unit.
        apart: their difference in `Reference.scatter`; 0 within the tolerance.
    """

    was: float
    now: float
    apart: float

    @property
    def ratio(self) -> float:
        """How many times what it was; 1 of nothing."""
        return self.now / self.was if self.was > 0 else 1.0

    def told(self) -> dict[str, float]:
        """As plain values."""
        return {"was": self.was, "now": self.now, "apart": self.apart}


STILL = Moved(0.0, 0.0, 0.0)


def likeliest(chart: str, side: str, moved: Mapping[str, Moved]) -> str:
    """One of `CAUSES`, for a signal of a chart.

    Args:
        chart: "rate" or a figure's name; side: "up" or "down".
        moved: of the figures that have a reference; those that have none count as before.
    """
    sharpness, brightness = (moved.get(one, STILL) for one in ("sharpness", "brightness"))
    lost = sharpness.ratio < (1 - BLURRED) * min(1.0, brightness.ratio)
    down = sharpness.apart <= -CLEAR or (chart, side) == ("sharpness", "down")
    if down and lost:
        return "focus"
    if abs(brightness.apart) >= CLEAR or chart == "brightness":
        return "light"
    if sharpness.apart >= CLEAR or (chart, side) == ("sharpness", "up"):
        return "grain"
    if down:
        return "focus"
    if chart != "rate" or any(abs(one.apart) >= CLEAR for one in _of_parts(moved)):
        return "parts"
    return "defects" if side == "up" else "fewer"


def _of_parts(moved: Mapping[str, Moved]) -> list[Moved]:
    return [moved[one] for one in ("score", "uncovered") if one in moved]
