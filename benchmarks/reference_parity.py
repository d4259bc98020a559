"""Is a pooled bank as good as the reference implementation's, at the same size?

Magnetic tiles, SqueezeNet features.7 + features.12, 150 of 759 training images, bank 1% of the
patches. The reference figures are those of the unmodified reference implementation on 150
training images; which ones is not recorded, and it matters (every image is one of six exposures
of a tile), so an even spread and three random draws are shown.

Also: the covering radius of the exact greedy against the approximate sampler of the
PatchCore paper (random projection to 128 dimensions, distances started from the mean to ten
random rows), re-implemented here from the paper's description.
"""

from __future__ import annotations

import numpy as np
import torch
from common import Clock, extractor, keep, patches, products, scores, show, squeezenet

from fedpatchcore.aggregation.common import covering_radius
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.site.measuring import measure, truth_masks

REFERENCE = {"full": (0.7351, 0.6506), "crop": (0.7056, 0.7206)}


def approximate_sampler(x: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Rows picked by the paper's projected, approximate greedy."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    project = torch.nn.Linear(x.shape[1], 128, bias=False)
    with torch.no_grad():
        z = project(torch.from_numpy(x))
        start = z[torch.from_numpy(rng.choice(len(z), 10, replace=False))]
        distance = torch.cdist(z, start).mean(1)
        picked = []
        for _ in range(size):
            at = int(distance.argmax())
            picked.append(at)
            distance = torch.minimum(distance, (z - z[at]).norm(dim=1))
    return np.array(picked)


def main() -> None:
    tile = products("magnetic_tile")["magnetic_tile"]
    draws = {"even": np.linspace(0, len(tile.train) - 1, 150).round().astype(int)}
    for seed in range(3):
        draws[f"random {seed}"] = np.random.default_rng(seed).permutation(len(tile.train))[:150]
    rows, radii = [], []
    for geometry, norm in (("crop", "none"), ("full", "none"), ("full", "unit")):
        tool = extractor(squeezenet(geometry=geometry, layer_norm=norm))
        banks = {}
        for seed, (draw, chosen) in enumerate(draws.items()):
            x = patches(tool, [tile.train[i] for i in sorted(chosen)])
            size = len(x) // 100
            with Clock() as clock:
                exact = greedy_k_center(x, size, seed=seed)
            banks[draw] = x[exact.indices]
            if norm == "none" and draw == "even":
                with Clock() as other:
                    banks["even, approximate sampler"] = x[approximate_sampler(x, size, seed)]
                radii.append(
                    {
                        "geometry": geometry,
                        "rows": len(x),
                        "picks": size,
                        "exact radius": exact.radius,
                        "sampler radius": covering_radius(x, banks["even, approximate sampler"]),
                        "exact s": clock.seconds,
                        "sampler s": other.seconds,
                    }
                )
        found = scores(tool, tile.test, banks)
        first = next(iter(found.values()))
        masks = truth_masks(tool, first.images, first.grids)
        for draw in banks:
            figure = measure(found[draw], masks, tool.backbone.geometry)
            rows.append(
                {
                    "geometry": geometry,
                    "layer norm": norm,
                    "training images": draw,
                    "image AUROC": figure["image_auroc"],
                    "reference image": REFERENCE[geometry][0],
                    "pixel AUROC": figure["pixel_auroc"],
                    "reference pixel": REFERENCE[geometry][1],
                }
            )
        show(f"pooled against the reference, {geometry}, {norm}", rows[-len(banks) :])
    show("covering radius", radii)
    keep("reference_parity", {"auroc": rows, "radius": radii})


if __name__ == "__main__":
    main()
