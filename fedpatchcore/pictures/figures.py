"""Anomaly maps as pictures, on one absolute colour scale.

A colour always means the same score: a map is never stretched to its own minimum and maximum,
so a faultless part looks faultless and two pictures on one scale can be compared by eye.
Parts of a picture that nobody looked at (NaN: cut away by the crop geometry) are hatched grey.

Matplotlib draws through its object interface; no global state is read or changed.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy.ndimage import maximum_filter

from fedpatchcore.errors import ConfigError
from fedpatchcore.pictures.canvas import FAINT, INK, PAPER, Canvas

__all__ = ["colour", "overlay", "png", "triple"]

COLOUR_MAP = "inferno"  # perceptually uniform, legible in grey print
PANEL = 330  # side in pixels of a square panel; other shapes get the same area
LONGEST = 400  # pixels of a panel's longer side
MARGIN, GAP, HEADER, CAPTION, BAR = 16, 12, 56, 26, 18
SCALE_WIDTH = 136  # colour bar with its figures

ALARM, FINE, UNDECIDED = "#b42318", "#1a7f4b", "#667085"
OUTLINE = "#00e5d0"


def colour(anomaly_map: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scores float ``[H, W]`` → colours uint8 ``[H, W, 3]``; NaN is hatched grey.

    Args:
        low, high: scores at the two ends of the scale; scores beyond take the end's colour.

    Raises:
        ConfigError: unless low < high, both finite.
    """
    share, seen = _share(anomaly_map, low, high)
    painted = _colours()[np.rint(share * 255).astype(np.uint8)]
    return np.where(seen[..., None], painted, _hatch(*share.shape))


def overlay(image: Image.Image, anomaly_map: np.ndarray, low: float, high: float) -> np.ndarray:
    """The picture in grey under its anomaly map → uint8 ``[H, W, 3]``.

    The higher the score, the more of its colour covers the picture, so that a normal surface
    stays visible. ``anomaly_map`` is float ``[H, W]`` at the picture's size.

    Raises:
        ConfigError: the sizes differ, or low is not below high.
    """
    share, seen = _share(anomaly_map, low, high)
    if image.size != share.shape[::-1]:
        raise ConfigError(f"map of {share.shape[::-1]} pixels on a picture of {image.size}")
    grey = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
    cover = _cover(share)[..., None]
    mixed = (1 - cover) * grey + cover * colour(anomaly_map, low, high)
    unseen = 0.55 * grey + 0.45 * _hatch(*share.shape)
    return np.rint(np.where(seen[..., None], mixed, unseen)).astype(np.uint8)


def triple(
    image: Image.Image,
    anomaly_map: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    score: float,
    threshold: float,
    low: float,
    high: float,
    label: str = "",
    title: str = "",
) -> Image.Image:
    """Original | heatmap | ground truth, with a colour bar in score units.

    Args:
        image: RGB.
        anomaly_map: float ``[H, W]`` at the picture's size.
        mask: bool ``[H, W]`` of the defect; None leaves its panel out.
        score: the image's score; above ``threshold`` the verdict is DEFECT. A NaN threshold
            gives no verdict.
        label: what the part is known to be ("good", a defect's name); empty if unknown.
        title: whose picture of what; shown at the right.

    Returns:
        RGB picture; its size depends on the shape of ``image`` and the number of panels.

    Raises:
        ConfigError: sizes differ, or low is not below high.
    """
    for what, given in (("map", anomaly_map), ("mask", mask)):
        if given is not None and given.shape != image.size[::-1]:
            raise ConfigError(f"{what} of {given.shape[::-1]} pixels on a picture of {image.size}")
    width, height = _panel_size(*image.size)
    small = _resize_map(anomaly_map, width, height)
    picture = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    count = 2 if mask is None else 3
    total = 2 * MARGIN + count * (width + GAP) + SCALE_WIDTH
    canvas = Canvas(max(total, 560), HEADER + height + CAPTION + MARGIN)
    _header(canvas, score, threshold, label, title)

    left = MARGIN
    _panel(canvas, np.asarray(picture), left, "picture")
    left += width + GAP
    _panel(canvas, overlay(picture, small, low, high), left, _heat_caption(small, threshold))
    canvas.outline(small, threshold, (left, HEADER), "#ffffff", 1.0)
    left += width + GAP
    if mask is not None:
        caption = "ground truth" if mask.any() else "ground truth: nothing marked"
        _panel(canvas, np.asarray(picture), left, caption)
        canvas.outline(_resize_mask(mask, width, height), 0.5, (left, HEADER), OUTLINE, 1.8)
        left += width + GAP
    _colour_bar(canvas, left + 8, height, score, threshold, low, high)
    return canvas.picture()


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


# -- colours ------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _colours() -> np.ndarray:
    """uint8 ``[256, 3]``."""
    table = matplotlib.colormaps[COLOUR_MAP](np.arange(256))[:, :3]
    return np.rint(table * 255).astype(np.uint8)


def _share(anomaly_map: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Place on the scale in [0, 1] and whether there is a score, both ``[H, W]``."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"a colour scale needs low < high, got {low:g} and {high:g}")
    scores = np.asarray(anomaly_map, dtype=np.float32)
    seen = ~np.isnan(scores)
    return np.clip((np.where(seen, scores, low) - low) / (high - low), 0, 1), seen


def _cover(share: np.ndarray) -> np.ndarray:
    """How much of the picture a colour hides, by its place on the scale."""
    return 0.08 + 0.8 * share**0.8


def _hatch(height: int, width: int) -> np.ndarray:
    """Diagonal stripes of two greys, uint8 ``[H, W, 3]``."""
    stripe = (np.add.outer(np.arange(height), np.arange(width)) // 4) % 2
    return np.repeat(np.where(stripe, 176, 144).astype(np.uint8)[..., None], 3, axis=2)


# -- sizes --------------------------------------------------------------------------


def _panel_size(width: int, height: int) -> tuple[int, int]:
    scale = min(PANEL / math.sqrt(width * height), LONGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize_map(anomaly_map: np.ndarray, width: int, height: int) -> np.ndarray:
    """float ``[H, W]`` → ``[height, width]``; what was NaN stays NaN."""
    scores = np.asarray(anomaly_map, dtype=np.float32)
    seen = np.isfinite(scores)
    if not seen.any():
        return np.full((height, width), np.nan, dtype=np.float32)
    # Weighted by what was seen, so that NaN does not bleed into its neighbours.
    weight = Image.fromarray(seen.astype(np.float32)).resize((width, height))
    values = Image.fromarray(np.where(seen, scores, 0)).resize((width, height))
    weight = np.asarray(weight)
    return np.where(weight > 0.5, np.asarray(values) / np.maximum(weight, 0.5), np.nan)


def _resize_mask(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """bool ``[H, W]`` → float ``[height, width]``; the smallest defect stays visible."""
    reach = math.ceil(max(mask.shape[0] / height, mask.shape[1] / width, 1))
    grown = maximum_filter(mask, size=reach) if reach > 1 else mask
    return np.asarray(Image.fromarray(grown.astype(np.float32)).resize((width, height)))


# -- drawing ------------------------------------------------------------------------


def _header(canvas: Canvas, score: float, threshold: float, label: str, title: str) -> None:
    decided = math.isfinite(threshold)
    defect = decided and score > threshold
    verdict = "DEFECT" if defect else "ok" if decided else "no verdict"
    shade = ALARM if defect else FINE if decided else UNDECIDED
    chip = round(26 + 11.5 * len(verdict))
    canvas.chip((MARGIN, 13), (chip, 30), shade)
    canvas.text(MARGIN + chip / 2, 28, verdict, size=12, weight="bold", color="white", ha="center")
    said = f"score {_digits(score)}"
    if label:
        said += f"  ·  {label[:40]}"
        if decided and defect != (label != "good"):
            said += " (false alarm)" if defect else " (missed)"
    canvas.text(MARGIN + chip + 12, 28, said, size=12.5)
    room = int((canvas.width - MARGIN - chip - 24) / 9.6) - len(said) - 3
    if title and room > 6:
        canvas.text(canvas.width - MARGIN, 28, title, size=12, limit=room, color=FAINT, ha="right")


def _panel(canvas: Canvas, pixels: np.ndarray, left: float, caption: str) -> None:
    canvas.image(pixels, (left, HEADER))
    canvas.text(left, HEADER + len(pixels) + 15, caption, size=10.5, color=FAINT)


def _heat_caption(small: np.ndarray, threshold: float) -> str:
    caption, room = "anomaly score", small.shape[1] / 7.6
    if np.isnan(small).any() and room > len(caption) + 20:
        caption += " · hatched: not seen"
    if np.nanmax(small, initial=-math.inf) > threshold and room > len(caption) + 18:
        caption += " · line: threshold"
    return caption


def _colour_bar(
    canvas: Canvas,
    left: float,
    height: int,
    score: float,
    threshold: float,
    low: float,
    high: float,
) -> None:
    ramp = np.repeat(np.linspace(high, low, height)[:, None], BAR, axis=1)
    canvas.image(overlay(Image.new("L", (BAR, height), 128), ramp, low, high), (left, HEADER))

    def place(value: float) -> float:
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return HEADER + (1 - share) * height

    taken = []
    right = left + BAR
    if math.isfinite(threshold):
        y = place(threshold)
        canvas.line((left - 3, y), (right + 3, y), PAPER, 3.4)
        canvas.line((left - 3, y), (right + 3, y), INK, 1.6)
        canvas.text(right + 7, y - 7, "threshold", size=10.5, weight="bold")
        canvas.text(right + 7, y + 9, _digits(threshold), size=10.5, weight="bold")
        taken = [y - 7, y + 9]
    y = place(score)
    if score > high:  # off the scale
        canvas.polygon([(left + 2, y - 3), (right - 2, y - 3), (left + BAR / 2, y - 9)], INK)
    elif math.isfinite(score):
        canvas.polygon([(left - 9, y - 5), (left - 9, y + 5), (left - 2, y)], INK)
    for tick in MaxNLocator(5).tick_values(low, high):
        y = place(tick)
        if low <= tick <= high and all(abs(y - other) > 17 for other in taken):
            canvas.line((right, y), (right + 3, y), FAINT, 0.8)
            canvas.text(right + 7, y, f"{tick:.6g}", size=10.5, color=FAINT)


def _digits(value: float) -> str:
    """Three significant digits, as scores are read."""
    if not math.isfinite(value):
        return "–"
    if 0.1 <= abs(value) < 1000:
        return f"{value:.{2 if abs(value) >= 1 else 3}f}"
    return f"{value:.3g}"
