"""Who judges in `robustness.py`: the tiles, what they know of defects, and distances to them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import exposure, patches, tile_groups
from federation import SITE_OF
from torch.nn import functional as F

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.data.products import TestImage
from fedpatchcore.detection.calibration import calibrate
from fedpatchcore.detection.search import elected
from fedpatchcore.detection.smoothing import anomaly_map
from fedpatchcore.metrics.curves import image_auroc, pixel_auroc
from fedpatchcore.site.measuring import truth_masks

KINDS = ("blowhole", "break", "crack", "fray", "uneven")


class Court:
    """The images that are judged and those held out, and the distances measured so far."""

    def __init__(self, tool, tests: Sequence[TestImage], held: Sequence[Path]) -> None:
        def features(paths: Sequence[Path]) -> np.ndarray:
            return patches(tool, paths).reshape(len(paths), -1, tool.backbone.fingerprint.dimension)

        groups = np.array(tile_groups(tests))
        judged = np.isin(groups, sorted(set(groups))[::2])
        mine = [t for t, j in zip(tests, judged, strict=True) if j]
        others = [t for t, j in zip(tests, judged, strict=True) if not j and t.anomalous]
        self.groups = groups[judged].tolist()
        self.kinds = np.array([t.label for t in mine])
        self.labels = np.array([t.anomalous for t in mine])
        self.light = np.array([SITE_OF[exposure(t.path)] for t in mine])
        self.held_light = np.array([SITE_OF[exposure(path)] for path in held])
        side = int((len(patches(tool, held[:1]))) ** 0.5)

        def masks_of(some: Sequence[TestImage]) -> np.ndarray:
            return np.stack(truth_masks(tool, some, [(side, side)] * len(some)))

        self.masks = masks_of(mine)
        self.tests, self.held = features([t.path for t in mine]), features(held)
        known = (self.tests, self.masks, self.kinds)
        foreign = features([t.path for t in others]), masks_of(others)
        self.pools = {
            "smuggling": smuggled(*known, KINDS, 100),
            "smuggling break": smuggled(*known, ["break"], 500),
            "smuggling others": smuggled(*foreign, np.array([t.label for t in others]), KINDS, 100),
        }
        self.cache, self.name = tool.cache, hashlib.sha256(self.tests.data).hexdigest()

    def distances(self, rows: np.ndarray, sizes: Sequence[int], held: bool) -> list[np.ndarray]:
        """Distances ``[n, hw]`` of all patches to the first rows, for each of several sizes."""
        images = self.held if held else self.tests
        key = hashlib.sha256(f"{self.name}{sizes}{held}".encode())
        key.update(np.ascontiguousarray(rows))
        if (known := self.cache.get(key.hexdigest())) is None:
            known = {}, {"distances": nearest(images, rows, sizes)}
            self.cache.put(key.hexdigest(), known[1])
        return list(known[1]["distances"])

    def figures(self, name: str, tests: np.ndarray, *held: np.ndarray) -> dict[str, float]:
        """Image AUROC; with held-out distances pixel AUROC and the rate of missed defects too.

        Args:
            tests: distances ``[n, hw]``; images that are NaN are nobody's to judge.
        """
        mine = ~np.isnan(tests[:, 0])
        known = (tests, self.labels, self.masks, self.kinds)
        tests, labels, masks, kinds = (values[mine] for values in known)
        found = {"image": image_auroc(tests.max(1), labels)}
        for normal in held:
            side = int(tests.shape[1] ** 0.5)
            maps = anomaly_map(tests.reshape(-1, side, side), masks.shape[1:])
            found["pixel"] = pixel_auroc(maps, masks)
            bad = kinds == "break" if name == "smuggling break" else labels
            limit = calibrate(normal[~np.isnan(normal[:, 0])].max(1), 0.05).value
            found["missed"] = (tests.max(1)[bad] <= limit).mean()
        return found


def nearest(images: np.ndarray, rows: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Distances ``[sizes, n, hw]`` of patches ``[n, hw, D]`` to the first rows."""
    middle, found = rows.mean(0), []
    bank = torch.from_numpy(rows - middle)
    for part in np.array_split(images, len(images) // 8 + 1):
        block = torch.from_numpy(part - middle).flatten(0, 1)
        squares = torch.addmm(bank.square().sum(1)[None], block, bank.T, alpha=-2)
        least = torch.stack([squares[:, :size].amin(1) for size in sizes])
        least = (least + block.square().sum(1)).clamp_(min=0).sqrt_()
        found.append(least.unflatten(1, part.shape[:2]).numpy())
    return np.concatenate(found, axis=1)


def smuggled(features, masks, kinds, wanted: Sequence[str], count: int) -> np.ndarray:
    """Rows of patches that lie at least half inside a defect, or where most of it lies."""
    side = int(features.shape[1] ** 0.5)
    share = F.interpolate(torch.from_numpy(masks[:, None]).float(), side, mode="area")
    share = share.flatten(1).numpy()
    inside = (share >= 0.5) | ((share > 0) & (share == share.max(1, keepdims=True)))
    pools = [features[kinds == kind][inside[kinds == kind]] for kind in wanted]
    return np.concatenate([p[greedy_k_center(p, min(count, len(p))).indices] for p in pools])


def voted(distances: Sequence[np.ndarray], votes: int, home: int | None = None) -> np.ndarray:
    """Distances of the sites that the product's rule elects, patch by patch."""
    stack = np.stack(distances)  # [sites, n, hw]
    chosen = elected(stack.reshape(len(stack), -1), votes, home).reshape(stack.shape[1:])
    return np.take_along_axis(stack, chosen[None], axis=0)[0]


def at_home(by_site: dict[str, np.ndarray], light: np.ndarray) -> np.ndarray:
    """Every image as the site of its light judges it, ``[n, hw]``; NaN where that one is none."""
    found = np.full_like(next(iter(by_site.values())), np.nan)
    for site, distances in by_site.items():
        found[light == site] = distances[light == site]
    return found
