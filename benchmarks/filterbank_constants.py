"""Regenerate fedpatchcore/features/backbones/filterbank_constants.py from the synthetic sample.

Run from the repository root::

    python -m benchmarks.filterbank_constants

The constants are the mean and the standard deviation of every filter-bank channel over the
patches of the default sample's good training images (no real product has a part in them). Texture
channels of one wavelength share theirs over the orientations, and the colour channels theirs over
red, green and blue: the sample's preferred directions and hues mean nothing elsewhere.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fedpatchcore.data.sample import write_sample
from fedpatchcore.features.backbones.filterbank import ORIENTATIONS, WAVELENGTHS, FilterBank

__all__ = ["compute", "main"]

_SIZE = 224  # pixels a side of the frame the backbone sees
_DIGITS = 4  # significant, so that the last bits of other machines do not show
_TARGET = Path("fedpatchcore/features/backbones/filterbank_constants.py")
_BATCH = 8


def _load(path: Path) -> torch.Tensor:
    """One picture squeezed to the backbone's frame, [3, 224, 224] float32 in [0, 1]."""
    with Image.open(path) as image:
        squeezed = image.convert("RGB").resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(squeezed)).permute(2, 0, 1).float() / 255


def compute(root: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of the 51 channels over the training images below ``root``."""
    files = sorted(root.glob("*/*/train/good/*.png"))
    bank = FilterBank()
    count, total, square = 0, 0.0, 0.0
    for start in range(0, len(files), _BATCH):
        batch = torch.stack([_load(file) for file in files[start : start + _BATCH]])
        raw = bank.describe(batch).double()
        count += raw[:, 0].numel()
        total = total + raw.sum(dim=(0, 2, 3))
        square = square + raw.square().sum(dim=(0, 2, 3))
    mean, square = total / count, square / count
    variance = square - mean**2
    edges = [ORIENTATIONS * i for i in range(len(WAVELENGTHS) + 1)] + [len(mean)]
    for first, last in itertools.pairwise(edges):
        mean[first:last] = mean[first:last].mean()
        variance[first:last] = variance[first:last].mean()
    rounded = [[float(f"{v:.{_DIGITS}g}") for v in x.tolist()] for x in (mean, variance.sqrt())]
    return rounded[0], rounded[1]


def _text(mean: list[float], deviation: list[float]) -> str:
    """The Python module that holds the constants."""

    def rows(values):
        lines = [values[i : i + ORIENTATIONS] for i in range(0, len(values), ORIENTATIONS)]
        return "".join("    " + ", ".join(map(str, line)) + ",\n" for line in lines)

    return (
        '"""Mean and standard deviation of the filter bank\'s channels on the synthetic sample.\n\n'
        "Rows: the six wavelengths (eight orientations each), then red, green, blue. Written by\n"
        '``python -m benchmarks.filterbank_constants``; do not edit.\n"""\n\n'
        '__all__ = ["DEVIATION", "MEAN"]\n\n'
        f"# fmt: off\nMEAN = (\n{rows(mean)})\n\nDEVIATION = (\n{rows(deviation)})\n# fmt: on\n"
    )


def main() -> None:
    """Write the constants module, from a sample made for it or one that is there."""
    parser = argparse.ArgumentParser(description="Regenerate the filter bank's constants.")
    parser.add_argument("--sample", type=Path, help="folder of the default sample, made if missing")
    parser.add_argument("--target", type=Path, default=_TARGET, help="module to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.sample or Path(scratch) / "sample"
        write_sample(root)
        mean, deviation = compute(root)
    arguments.target.write_text(_text(mean, deviation), encoding="utf-8")
    print(f"wrote {len(mean)} channels to {arguments.target}")


if __name__ == "__main__":
    main()
