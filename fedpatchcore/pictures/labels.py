"""Names beside points of a chart, none upon another."""

from __future__ import annotations

__all__ = ["LINE", "Labels"]

LINE = 13.0  # pixels from one line of a name to the next


class Labels:
    """Where names lie already, between two heights in pixels from above."""

    def __init__(self, top: float, bottom: float) -> None:
        self._top, self._bottom = top, bottom
        self._taken: list[tuple[float, float, float]] = []

    def place(self, left: float, right: float, y: float) -> float:
        """The height nearest to ``y``, above or below, at which no name lies yet; it is taken."""
        for step in (s for n in range(2 * len(self._taken) + 2) for s in (-n, n)):
            height = y + step * LINE
            covers = (
                abs(height - at) < LINE - 1 and left < end and begin < right
                for begin, end, at in self._taken
            )
            if self._top < height < self._bottom and not any(covers):
                break
        self._taken.append((left, right, height))
        return height
