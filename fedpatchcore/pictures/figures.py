"""Anomaly maps as pictures, on one absolute colour scale.

A colour always means the same score (`scale.py`): a map is never stretched to its own minimum and
maximum, so a faultless part looks faultless and two pictures on one scale can be compared by eye.
Parts of a picture that nobody looked at (NaN: cut away by the crop geometry) are hatched grey.

Matplotlib draws through its object interface; no global state is read or changed.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

import matplotlib
import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter

from fedpatchcore.errors import ConfigError
from fedpatchcore.pictures.canvas import FAINT, INK, PAPER, Canvas, text_width
from fedpatchcore.pictures.header import HEADER, SECOND, Header, digits
from fedpatchcore.pictures.layout import CAPTION, LINE, arrange, panel_size
from fedpatchcore.pictures.scale import Scale

__all__ = ["colour", "overlay", "png", "triple"]

COLOUR_MAP = "inferno"  # perceptually uniform, legible in grey print
BAR = 18  # pixels
REDUCED = 4.0  # times smaller than it is, from which a picture's caption says so
OUTLINE = "#00e5d0"  # no colour of the scale, nor a grey


def colour(anomaly_map: np.ndarray, scale: Scale) -> np.ndarray:
    """Scores float ``[H, W]`` → colours uint8 ``[H, W, 3]``; NaN is hatched grey.

    Scores beyond the scale take the colour of its end.
    """
    share, seen = _share(anomaly_map, scale)
    painted = _colours()[np.rint(share * 255).astype(np.uint8)]
    return np.where(seen[..., None], painted, _hatch(*share.shape))


def overlay(image: Image.Image, anomaly_map: np.ndarray, scale: Scale) -> np.ndarray:
    """The picture in grey under its anomaly map → uint8 ``[H, W, 3]``.

    The higher the score, the more of its colour covers the picture, so that a normal surface
    stays visible. ``anomaly_map`` is float ``[H, W]`` at the picture's size.

    Raises:
        ConfigError: the sizes differ.
    """
    share, seen = _share(anomaly_map, scale)
    if image.size != share.shape[::-1]:
        raise ConfigError(f"map of {share.shape[::-1]} pixels on a picture of {image.size}")
    grey = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
    cover = _cover(share)[..., None]
    mixed = (1 - cover) * grey + cover * colour(anomaly_map, scale)
    unseen = 0.55 * grey + 0.45 * _hatch(*share.shape)
    return np.rint(np.where(seen[..., None], mixed, unseen)).astype(np.uint8)


def triple(
    image: Image.Image,
    anomaly_map: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    score: float,
    threshold: float,
    scale: Scale,
    region: np.ndarray | None = None,
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
        region: bool ``[H, W]``, what is above the threshold (`find_regions`); it is outlined on
            the heatmap. The map itself tells nothing of it, since it is smoothed.
        label: what the part is known to be ("good", a defect's name); empty if unknown.
        title: whose picture of what; shown at the right, or below if there is no room.

    Returns:
        RGB picture; its size depends on the shape of ``image``, the number of panels and the
        length of what is written.

    Raises:
        ConfigError: sizes differ.
    """
    for what, given in (("map", anomaly_map), ("mask", mask), ("region", region)):
        if given is not None and given.shape != image.size[::-1]:
            raise ConfigError(f"{what} of {given.shape[::-1]} pixels on a picture of {image.size}")
    marked = region is not None and bool(region.any())
    captions = [
        ("picture", *_reduced(image.size)),
        _heat_caption(scale, bool(np.isnan(anomaly_map).any()), marked),
    ]
    if mask is not None:
        captions.append(("ground truth" if mask.any() else "ground truth: nothing marked",))
    head = Header.of(score, threshold, label, title)
    layout = arrange(image.size, captions, lambda words: text_width(words, CAPTION))
    total = max(layout.width, head.narrowest)
    top = HEADER if head.in_one_line(total) else HEADER + SECOND
    canvas = Canvas(total, top + layout.height)
    head.draw(canvas)

    width, height = layout.panel
    small = _resize_map(anomaly_map, width, height)
    picture = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    shown = [np.asarray(picture), overlay(picture, small, scale), np.asarray(picture)]
    lines = [None, region if marked else None, mask]
    for at, (left, below) in enumerate(layout.corners):
        corner = (left, top + below)
        canvas.image(shown[at], corner)
        if lines[at] is not None:
            canvas.outline(_resize_mask(lines[at], width, height), 0.5, corner, OUTLINE, 1.8)
        for number, words in enumerate(layout.captions[at]):
            y = corner[1] + height + 15 + LINE * number
            canvas.text(corner[0], y, words, size=CAPTION, color=FAINT)
    _colour_bar(canvas, (layout.bar[0], top, layout.bar[1]), score, threshold, scale)
    return canvas.picture()


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)  # a third of the time of the usual 6
    return stream.getvalue()


# -- colours ------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _colours() -> np.ndarray:
    """uint8 ``[256, 3]``."""
    table = matplotlib.colormaps[COLOUR_MAP](np.arange(256))[:, :3]
    return np.rint(table * 255).astype(np.uint8)


def _share(anomaly_map: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Place on the scale in [0, 1] and whether there is a score, both ``[H, W]``."""
    scores = np.asarray(anomaly_map, dtype=np.float32)
    seen = ~np.isnan(scores)
    return scale.share(np.where(seen, scores, scale.low)), seen


def _cover(share: np.ndarray) -> np.ndarray:
    """How much of the picture a colour hides, by its place on the scale."""
    return 0.08 + 0.8 * share**0.65


def _hatch(height: int, width: int) -> np.ndarray:
    """Diagonal stripes of two greys, uint8 ``[H, W, 3]``."""
    stripe = (np.add.outer(np.arange(height), np.arange(width)) // 4) % 2
    return np.repeat(np.where(stripe, 176, 144).astype(np.uint8)[..., None], 3, axis=2)


# -- sizes --------------------------------------------------------------------------


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


def _reduced(size: tuple[int, int]) -> tuple[str, ...]:
    """That a large picture is shown much smaller than it is."""
    times = max(size) / max(panel_size(*size))
    told = f"{size[0]:,} × {size[1]:,} pixels, shown at 1:{times:.0f}"
    return (told,) if times >= REDUCED else ()


def _heat_caption(scale: Scale, cropped: bool, marked: bool) -> tuple[str, ...]:
    told = ["anomaly score", f"logarithmic above {digits(scale.bend)}"]
    if marked:
        told.append("line: region above threshold")
    if cropped:
        told.append("hatched: not seen")
    return tuple(told)


def _colour_bar(
    canvas: Canvas, bar: tuple[int, int, int], score: float, threshold: float, scale: Scale
) -> None:
    left, top, height = bar
    ramp = np.repeat(scale.at(np.linspace(1, 0, height))[:, None], BAR, axis=1)
    canvas.image(overlay(Image.new("L", (BAR, height), 128), ramp, scale), (left, top))

    def place(value: float) -> float:
        return top + (1 - float(scale.share(value))) * height

    taken = []
    right = left + BAR
    if math.isfinite(threshold):
        y = place(threshold)
        canvas.line((left - 3, y), (right + 3, y), PAPER, 3.4)
        canvas.line((left - 3, y), (right + 3, y), INK, 1.6)
        canvas.text(right + 7, y - 7, "threshold", size=10.5, weight="bold")
        canvas.text(right + 7, y + 9, digits(threshold, score), size=10.5, weight="bold")
        taken = [y - 7, y + 9]
    y = place(score)
    if score > scale.high:  # off the scale
        canvas.polygon([(left + 2, y - 3), (right - 2, y - 3), (left + BAR / 2, y - 9)], INK)
    elif math.isfinite(score):
        canvas.polygon([(left - 9, y - 5), (left - 9, y + 5), (left - 2, y)], INK)
    for tick in scale.ticks():
        y = place(tick)
        if all(abs(y - other) > 17 for other in taken):
            canvas.line((right, y), (right + 3, y), FAINT, 0.8)
            canvas.text(right + 7, y, _tick(tick, threshold), size=10.5, color=FAINT)
            taken.append(y)


def _tick(value: float, threshold: float) -> str:
    """A score, and how many thresholds that is where it is more than one."""
    times = value / threshold if threshold > 0 else 0.0
    return f"{digits(value)} ({times:.2g}×)" if times > 1 else digits(value)
