"""Photographing a scene: the lamp of a station, its light and its sensor's noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpatchcore.data.sample.raster import COLS, ROWS, SIZE, noise_window
from fedpatchcore.data.sample.scenes import LOTS, draw_scene

__all__ = ["LAMPS", "Condition", "Lamp", "render"]

_MASK_THRESHOLD = 0.02  # change of reflectance that counts as defect


@dataclass(frozen=True)
class Lamp:
    """Lighting and camera of one station. Angles in radians, lengths in pixels."""

    angle: float  # direction the light comes from, in the image plane
    gradient: float  # relative brightness change from centre to the lit edge
    gain: float
    tint: tuple[float, float, float]  # colour of the light, RGB
    spot: float  # strength of the bright spot towards the lamp
    blur: float  # weight of the neighbours in the camera's 3x3 kernel, 0..1/3 per axis
    noise: float  # standard deviation of the sensor noise, 8-bit counts


LAMPS: tuple[Lamp, ...] = (
    Lamp(0.6, 0.10, 1.00, (1.00, 1.00, 1.00), 0.03, 0.16, 1.5),  # even ring light
    Lamp(3.0, 0.34, 0.98, (1.07, 1.00, 0.88), 0.05, 0.20, 1.8),  # warm side light
    Lamp(-0.9, 0.16, 1.05, (0.94, 1.00, 1.08), 0.22, 0.12, 1.5),  # cool bar with a hot spot
    Lamp(1.7, 0.26, 0.74, (1.02, 1.00, 0.95), 0.04, 0.22, 2.0),  # dim, noisy
    Lamp(-2.2, 0.08, 1.20, (0.98, 1.03, 0.97), 0.08, 0.26, 1.5),  # bright diffuser
)


@dataclass(frozen=True)
class Condition:
    """What a plant's normal production looks like: its lamp and its supplier's material."""

    lamp: Lamp
    lot: int

    @classmethod
    def of_site(cls, site: int) -> "Condition":
        """Condition of the site with this number; 25 different ones, then they repeat."""
        return cls(LAMPS[site % len(LAMPS)], (site + site // len(LAMPS)) % LOTS)


def _photograph(scene: np.ndarray, lamp: Lamp, rng: np.random.Generator) -> np.ndarray:
    """Light a scene and record it: [256, 256, 3] uint8."""
    angle = lamp.angle + rng.normal(0, 0.08)
    gain = lamp.gain * (1 + rng.normal(0, 0.03))
    towards = (math.cos(angle) * COLS + math.sin(angle) * ROWS) / (SIZE / 2)
    light = 1 + lamp.gradient * towards
    dy, dx = ROWS / 128 - 0.55 * math.sin(angle), COLS / 128 - 0.55 * math.cos(angle)
    light += lamp.spot * np.exp(-(dy * dy + dx * dx) / 0.18)
    picture = scene * light[..., None]
    picture *= np.asarray(lamp.tint, np.float32) * np.float32(255 * gain)
    side, middle = lamp.blur, 1 - 2 * lamp.blur
    rows = middle * picture
    rows[1:] += side * picture[:-1]
    rows[:-1] += side * picture[1:]
    rows[[0, -1]] += side * picture[[0, -1]]
    picture = middle * rows
    picture[:, 1:] += side * rows[:, :-1]
    picture[:, :-1] += side * rows[:, 1:]
    picture[:, [0, -1]] += side * rows[:, [0, -1]]
    for channel in range(3):
        picture[..., channel] += lamp.noise * noise_window(rng, 0.0)
    picture += 0.5
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)


def render(
    product: str, condition: Condition, key: Sequence[int], defect: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Photograph one part.

    ``key`` seeds everything random: the same key with and without ``defect`` shows the same part,
    pose, light and sensor noise. The mask is where the scene differs from the same scene without
    the defect; in the picture the difference reaches one pixel further, through the blur.

    Returns:
        The picture [256, 256, 3] uint8 and the mask [256, 256] bool (all False without a defect).
    """
    light = condition.lamp.angle
    scene = draw_scene(product, condition.lot, light, key, defect)
    mask = np.zeros((SIZE, SIZE), bool)
    if defect is not None:
        sound = draw_scene(product, condition.lot, light, key)
        mask = np.abs(scene - sound).max(axis=-1) > _MASK_THRESHOLD
    return _photograph(scene, condition.lamp, np.random.default_rng([*key, 2])), mask
