"""What stands above the panels of a picture: verdict, score and whose it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedpatchcore.pictures.canvas import FAINT, Canvas, shortened, text_width
from fedpatchcore.pictures.layout import MARGIN

__all__ = ["HEADER", "SECOND", "Header", "digits"]

HEADER, SECOND = 56, 22  # pixels: its height, and what a second line adds
VERDICT, SAID, TITLE = 12, 12.5, 12  # points
ALARM, FINE, UNDECIDED = "#b42318", "#1a7f4b", "#667085"


@dataclass(frozen=True)
class Header:
    """Verdict, score and title above the panels."""

    verdict: str
    shade: str
    said: str
    title: str

    @classmethod
    def of(cls, score: float, threshold: float, label: str, title: str) -> Header:
        """What is said of a picture; without a threshold (NaN) there is no verdict."""
        decided = not math.isnan(threshold)
        defect = score > threshold
        said = f"score {digits(score, threshold)}"
        if label:
            said += f"  ·  {label[:40]}"
            if decided and defect != (label != "good"):
                said += " (false alarm)" if defect else " (missed)"
        if not decided:
            return cls("no verdict", UNDECIDED, said, title)
        return cls("DEFECT", ALARM, said, title) if defect else cls("ok", FINE, said, title)

    @property
    def _start(self) -> int:
        return MARGIN + round(text_width(self.verdict, VERDICT, "bold")) + 22 + 12

    @property
    def narrowest(self) -> int:
        """Pixels that verdict and score take up."""
        return math.ceil(self._start + text_width(self.said, SAID)) + MARGIN

    def in_one_line(self, width: int) -> bool:
        """Whether the title has room beside the score."""
        beside = self.narrowest + MARGIN + text_width(self.title, TITLE)
        return not self.title or beside <= width

    def draw(self, canvas: Canvas) -> None:
        """Write it at the top of a sheet."""
        chip = self._start - 12 - MARGIN
        canvas.chip((MARGIN, 13), (chip, 30), self.shade)
        middle = MARGIN + chip / 2
        canvas.text(
            middle, 28, self.verdict, size=VERDICT, weight="bold", color="white", ha="center"
        )
        canvas.text(self._start, 28, self.said, size=SAID)
        if self.in_one_line(canvas.width):
            canvas.text(canvas.width - MARGIN, 28, self.title, size=TITLE, color=FAINT, ha="right")
        else:
            title = shortened(self.title, canvas.width - 2 * MARGIN, TITLE)
            canvas.text(MARGIN, HEADER + 5, title, size=TITLE, color=FAINT)


def digits(value: float, beside: float = math.nan) -> str:
    """Three significant digits, as scores are read; more where it would look like ``beside``.

    >>> digits(1.0843, 1.0791), digits(1.0791, 1.0843)
    ('1.084', '1.079')
    """
    if not math.isfinite(value):
        return "–"
    for more in range(4 if math.isfinite(beside) and value != beside else 1):
        told, other = (_rounded(one, more) for one in (value, beside))
        if told != other:
            break
    return told


def _rounded(value: float, more: int) -> str:
    if 0.1 <= abs(value) < 1000:
        return f"{value:.{(2 if abs(value) >= 1 else 3) + more}f}"
    return f"{value:.{3 + more}g}"
