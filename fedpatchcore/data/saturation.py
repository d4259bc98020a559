"""AutoVI and MVTec LOCO annotations: one mask per defect, with a saturation threshold.

Paper: Bergmann et al., "Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly
Detection and Localization", IJCV 2022, section 3.2; Carvalho et al., "AutoVI", 2024, keeps the
format. ``<product>/defects_config.json`` is a list of

    {"defect_name": "missing_screw", "pixel_value": 251,
     "saturation_threshold": 0.5, "relative_saturation": true}

A mask's non-zero value names its rule. To localise a defect it is enough to cover its saturation
area: ``threshold × defect area`` if relative, else ``min(threshold, defect area)`` pixels.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.data.images import load_mask_values, resize_nearest
from fedpatchcore.errors import DataError

__all__ = ["CONFIG_NAME", "Region", "Saturation", "load_regions", "read_defects_config"]

CONFIG_NAME = "defects_config.json"


@dataclass(frozen=True)
class Saturation:
    """When a kind of defect counts as fully localised.

    Attributes:
        name: kind of defect.
        pixel_value: its value in the masks, 1 to 255.
        threshold: share of the defect's area in (0, 1] if `relative`, else pixels ≥ 1.
        relative: whether `threshold` is a share.
    """

    name: str
    pixel_value: int
    threshold: float
    relative: bool

    def area(self, defect_area: float, scale: float = 1.0) -> float:
        """Saturation area in pixels of a defect of `defect_area` pixels.

        Not rounded (the reference evaluation truncates relative areas to whole pixels).

        Args:
            scale: pixels of the evaluated mask per pixel of the annotated one, for masks that
                were resampled; absolute thresholds shrink or grow with it.
        """
        if self.relative:
            return self.threshold * defect_area
        return min(self.threshold * scale, defect_area)


@dataclass(frozen=True)
class Region:
    """One annotated defect of one image.

    Attributes:
        mask: bool [H, W].
        saturation_area: pixels that must be found for full credit, > 0.
    """

    mask: np.ndarray
    saturation_area: float


def read_defects_config(path: Path) -> dict[str, Saturation]:
    """Read ``defects_config.json`` → rules by defect name, in file order.

    Raises:
        DataError: unreadable, not the format above, values out of range, or two rules with one
            name or one pixel value.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); restore the file") from error
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of defects, got {type(entries).__name__}")
    rules: dict[str, Saturation] = {}
    for number, entry in enumerate(entries):
        rule = _rule(entry, f"{path}: entry {number}")
        if rule.name in rules:
            raise DataError(f"{path}: entry {number}: defect {rule.name!r} occurs twice")
        if any(rule.pixel_value == other.pixel_value for other in rules.values()):
            raise DataError(f"{path}: entry {number}: pixel_value {rule.pixel_value} occurs twice")
        rules[rule.name] = rule
    return rules


def load_regions(
    paths: Iterable[Path], rules: Mapping[str, Saturation], size: tuple[int, int] | None = None
) -> list[Region]:
    """Masks of one image → its defects for `fedpatchcore.metrics.spro.auc_spro`.

    Each value of each file is one region, connected or not, as in MVTec LOCO.

    Args:
        paths: mask files of one image.
        rules: from `read_defects_config`.
        size: (W, H) to resample to by nearest neighbour; None keeps the annotated size. A defect
            that vanishes on the way is left out.

    Raises:
        ImageError: a mask cannot be read.
        DataError: a mask holds a value that no rule names.
    """
    by_value = {rule.pixel_value: rule for rule in rules.values()}
    regions = []
    for path in paths:
        full = load_mask_values(path)
        values = resize_nearest(full, size or (full.shape[1], full.shape[0]))
        for value in np.unique(full[full > 0]).tolist():
            if value not in by_value:
                known = ", ".join(map(str, sorted(by_value))) or "none"
                raise DataError(
                    f"{path}: value {value} has no rule in {CONFIG_NAME} (known: {known})"
                )
            mask = values == value
            area = int(mask.sum())
            if area:
                saturation = by_value[value].area(area, scale=values.size / full.size)
                regions.append(Region(mask, saturation))
    return regions


def _rule(entry: Any, where: str) -> Saturation:
    """One JSON entry → validated rule."""
    keys = ("defect_name", "pixel_value", "saturation_threshold", "relative_saturation")
    missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
    if missing:
        raise DataError(f"{where}: lacks {', '.join(missing)}")
    name, value, threshold, relative = (entry[key] for key in keys)
    if not isinstance(name, str) or not name:
        raise DataError(f"{where}: defect_name must be a non-empty text")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 255:
        raise DataError(f"{where}: pixel_value must be a whole number from 1 to 255, got {value!r}")
    if not isinstance(relative, bool):
        raise DataError(f"{where}: relative_saturation must be true or false, got {relative!r}")
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    valid = number and (0 < threshold <= 1 if relative else 1 <= threshold < float("inf"))
    if not valid:
        expected = "in (0, 1]" if relative else "at least 1 pixel"
        raise DataError(f"{where}: saturation_threshold must be {expected}, got {threshold!r}")
    return Saturation(name, value, float(threshold), relative)
