"""Where on a sheet the panels of a picture stand, so that any shape of picture is legible.

Panels stand side by side, those of wide pictures one below the other. A panel is scaled to a given
area, a slender one further until it is wide enough to be seen. A column is at least as wide as the
words below it, which are broken into lines but never cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["CAPTION", "LINE", "MARGIN", "Layout", "arrange", "lines", "panel_size"]

PANEL = 330  # side in pixels of a square panel; other shapes get the same area
LONGEST = 400  # pixels of a panel's longer side
THIN, FURTHEST = 60, 840  # a shorter side below THIN may grow until the longer has FURTHEST
WIDE = 4.0  # width to height from which on panels are stacked
MARGIN, GAP = 16, 12
CAPTION = 10.5  # points
LINE = 17  # pixels from one line of a caption to the next
NARROWEST = 560
SCALE = 150  # width of the colour bar with its figures

Width = Callable[[str], float]
"""Pixels that words take up."""


@dataclass(frozen=True)
class Layout:
    """Pixels from the left rim of the sheet, and from the line above the panels.

    Attributes:
        panel: width and height of each.
        corners: upper left corner of each.
        captions: lines of words below each.
        bar: left rim and height of the colour bar, whose top is that of the panels.
        width: of the sheet.
        height: from the line above the panels to the lower rim.
    """

    panel: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    captions: tuple[tuple[str, ...], ...]
    bar: tuple[int, int]
    width: int
    height: int


def arrange(size: tuple[int, int], captions: Sequence[Sequence[str]], width_of: Width) -> Layout:
    """Lay out panels of a picture of ``size``.

    Args:
        captions: of each panel, parts that are not broken.
    """
    width, height = panel = panel_size(*size)
    stacked = size[0] > WIDE * size[1]
    words = [lines(parts, width, width_of) for parts in captions]
    columns = [max(width, *(math.ceil(width_of(line)) for line in told)) for told in words]
    corners, left, top = [], MARGIN, 0
    for column, told in zip(columns, words, strict=True):
        corners.append((left, top))
        if stacked:
            top += height + LINE * len(told) + GAP
        else:
            left += column + GAP
    if stacked:
        left += max(columns) + GAP
    deepest = max(len(told) for told in words)
    return Layout(
        panel,
        tuple(corners),
        tuple(words),
        (left + 8, corners[-1][1] + height),
        max(left + SCALE + MARGIN - GAP, NARROWEST),
        corners[-1][1] + height + LINE * (len(words[-1]) if stacked else deepest) + MARGIN,
    )


def panel_size(width: int, height: int) -> tuple[int, int]:
    """Pixels of a panel that shows a picture of this size."""
    scale = min(PANEL / math.sqrt(width * height), LONGEST / max(width, height))
    if min(width, height) * scale < THIN:
        scale = min(THIN / min(width, height), FURTHEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def lines(parts: Sequence[str], room: float, width_of: Width) -> tuple[str, ...]:
    """Parts joined by dots, in lines no wider than ``room`` if no part is."""
    told = [parts[0]]
    for part in parts[1:]:
        longer = f"{told[-1]}  ·  {part}"
        if width_of(longer) <= room:
            told[-1] = longer
        else:
            told.append(part)
    return tuple(told)
