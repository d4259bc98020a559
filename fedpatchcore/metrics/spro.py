"""Area under the per-region overlap curve, plain (PRO) and saturated (sPRO).

The overlap of a region at a threshold is the share of its pixels that score at least as much; the
saturated overlap is min(pixels found / saturation area, 1). Their mean over all regions, each
counting the same whatever its size, is drawn against the false-positive rate over all pixels
outside any region, and integrated from 0 to a limit, linearly interpolated there, over the limit.

Papers: PRO: Bergmann et al., "Uninformed Students", CVPR 2020, section 4.1, with regions the
8-connected components of the masks. sPRO: Bergmann et al., "Beyond Dents and Scratches", IJCV 2022,
section 3.2, with regions as annotated; AutoVI (Carvalho et al., 2024) reports the same.

The curve is exact: a pixel that is the k-th of its region adds its own share of the overlap at its
score, so all distinct scores are thresholds after sorting each pixel once. Memory: one copy of the
pixels in the maps' dtype, and some 40 bytes a defective pixel.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage

from fedpatchcore.data.saturation import Region
from fedpatchcore.errors import ConfigError, DataError

__all__ = ["Region", "at_most_one", "auc_spro", "aupro", "checked_maps", "pro_curve", "spro_curve"]

Arrays = np.ndarray | Sequence[np.ndarray]


def aupro(maps: Arrays, masks: Arrays, max_fpr: float = 0.3) -> float:
    """Area under the PRO curve up to a false-positive rate, in [0, 1].

    A defective image with an empty mask contributes good pixels only.

    Args:
        maps: float [N, H, W], or N arrays [H, W] of any sizes.
        masks: bool, shaped as the maps; True = defect.
        max_fpr: limit in (0, 1].

    Returns:
        NaN without any defective or without any good pixel.

    Raises:
        DataError: shapes that do not match, or NaN scores.
        ConfigError: `max_fpr` outside (0, 1].
    """
    _check_limit(max_fpr)
    curve = pro_curve(maps, masks)
    return float("nan") if curve is None else _area(*curve, max_fpr)


def auc_spro(
    maps: Arrays,
    regions: Sequence[Sequence[Region]],
    max_fprs: Sequence[float] = (0.01, 0.05, 0.1, 0.3, 1.0),
) -> dict[float, float]:
    """Areas under the saturated PRO curve up to each limit → {limit: area in [0, 1]}.

    Args:
        maps: float [N, H, W], or N arrays [H, W] of any sizes.
        regions: the defects of each image, from `fedpatchcore.data.saturation.load_regions`; empty
            for good images.
        max_fprs: limits in (0, 1].

    Returns:
        NaN without any region or without any good pixel.

    Raises:
        DataError: counts or shapes that do not match, empty regions, or NaN scores.
        ConfigError: a limit outside (0, 1].
    """
    for limit in max_fprs:
        _check_limit(limit)
    curve = spro_curve(maps, regions)
    return {limit: float("nan") if curve is None else _area(*curve, limit) for limit in max_fprs}


def pro_curve(maps: Arrays, masks: Arrays) -> tuple[np.ndarray, np.ndarray] | None:
    """As `spro_curve`, of the 8-connected components of masks, bool shaped as the maps."""
    maps, masks = checked_maps(maps, masks)
    good, samples = [], []
    for map_, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=np.int8))
        of_pixel = labels[mask]
        order = np.argsort(of_pixel, kind="stable")
        starts = np.searchsorted(of_pixel[order], np.arange(2, count + 1))
        regions = np.split(map_[mask][order], starts) if count else []
        samples += [(scores, float(scores.size)) for scores in regions]
        good.append(map_[~mask])
    return _curve(good, samples)


def spro_curve(
    maps: Arrays, regions: Sequence[Sequence[Region]]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices of the exact curve → (false-positive rates [V], mean overlaps [V]), both ascending.

    Between vertices the curve is linear. None without any region or any good pixel.

    Args:
        maps: as `auc_spro`.
        regions: as `auc_spro`; regions of one image may overlap.
    """
    if len(maps) != len(regions):
        raise DataError(f"{len(maps)} maps but regions of {len(regions)} images; give one each")
    unions = []
    samples = []
    for number, (map_, own) in enumerate(zip(maps, regions, strict=True)):
        map_ = np.asarray(map_)
        union = np.zeros(map_.shape, dtype=np.bool_)
        for region in own:
            if region.mask.shape != map_.shape:
                raise DataError(
                    f"image {number}: region of shape {region.mask.shape} on a map of shape "
                    f"{map_.shape}; resample one to the other"
                )
            if not region.mask.any() or not region.saturation_area > 0:
                raise DataError(
                    f"image {number}: a region without pixels or saturation area; leave it out"
                )
            union |= region.mask
            samples.append((map_[region.mask], region.saturation_area))
        unions.append(union)
    maps, unions = checked_maps(maps, unions)
    return _curve([map_[~union] for map_, union in zip(maps, unions, strict=True)], samples)


def checked_maps(maps: Arrays, masks: Arrays) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps without NaN, float [H, W], and masks, bool [H, W], of equal shapes.

    Raises:
        DataError: as said, naming the image.
    """
    if len(maps) != len(masks) or not len(maps):
        raise DataError(f"{len(maps)} maps and {len(masks)} masks; give one of each an image")
    maps = [np.asarray(map_) for map_ in maps]
    masks = [np.asarray(mask) for mask in masks]
    for number, (map_, mask) in enumerate(zip(maps, masks, strict=True)):
        if map_.ndim != 2 or map_.shape != mask.shape:
            raise DataError(
                f"image {number}: map of shape {map_.shape} and mask of shape {mask.shape}; "
                "both must be [H, W]"
            )
        if np.isnan(map_).any():
            raise DataError(f"image {number}: the anomaly map holds NaN")
    return maps, [mask.astype(np.bool_, copy=False) for mask in masks]


def _curve(
    good: list[np.ndarray], samples: Iterable[tuple[np.ndarray, float]]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices of the curve.

    Args:
        good: scores of the pixels outside regions, one array an image; emptied to save memory.
        samples: of each region the scores of its pixels and its saturation area.
    """
    found, gains = [], []
    for scores, saturation in samples:
        found.append(np.sort(scores)[::-1])
        overlap = np.minimum(np.arange(1, scores.size + 1) / saturation, 1.0)
        gains.append(np.diff(overlap, prepend=0.0))
    pixels = np.concatenate(good)
    good.clear()
    if not found or not pixels.size:
        return None
    pixels.sort()
    thresholds, place = np.unique(np.concatenate(found), return_inverse=True)
    gain = np.bincount(place, weights=np.concatenate(gains))[::-1] / len(found)
    thresholds = thresholds[::-1]
    reached = np.minimum(np.cumsum(gain), 1.0)
    # Two vertices a threshold: before and after the pixels of this score are called defective.
    above = pixels.size - np.searchsorted(pixels, thresholds, side="right")
    from_it = pixels.size - np.searchsorted(pixels, thresholds, side="left")
    rates = np.stack([above, from_it], axis=1).ravel() / pixels.size
    overlaps = np.stack([np.append(0.0, reached[:-1]), reached], axis=1).ravel()
    return (
        np.concatenate([[0.0], rates, [1.0]]),
        np.concatenate([[0.0], overlaps, reached[-1:]]),
    )


def _check_limit(limit: float) -> None:
    if not 0 < limit <= 1:
        raise ConfigError(f"false-positive limit must lie in (0, 1], got {limit}")


def at_most_one(share: float) -> float:
    """A share without the last digit by which rounding may carry it above 1."""
    return min(float(share), 1.0) if share == share else float("nan")


def _area(rates: np.ndarray, overlaps: np.ndarray, limit: float) -> float:
    """Trapezoids up to the limit, over the limit."""
    last = int(np.searchsorted(rates, limit, side="right")) - 1
    x, y = rates[: last + 1], overlaps[: last + 1]
    if x[-1] < limit:
        share = (limit - x[-1]) / (rates[last + 1] - x[-1])
        x = np.append(x, limit)
        y = np.append(y, y[-1] + share * (overlaps[last + 1] - y[-1]))
    return at_most_one(np.trapezoid(y, x) / limit)
