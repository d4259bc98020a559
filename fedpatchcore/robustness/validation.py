"""What a site may send: rows that its backbone can produce, and no others.

The bounds follow from how features are made (`fedpatchcore.features.patches.embed`), so no honest
site can ever break them:

* ``layer_norm="unit"``: each layer's vector is scaled to norm 1 *after* averaging and
  resizing and then concatenated. A layer that is zero at a patch stays zero. The squared
  norm of a row is therefore an integer: the number of layers that are not zero there.
* The embedded filter bank divides by the root of one plus the mean square of its channels:
  norms stay below the root of the dimension, and averaging over a window cannot raise them.
* A layer that ends in a ReLU gives no negative value; neither averaging, resizing nor
  scaling brings one back. A sign flip is then impossible by construction.

Raw features of a network have no bound of their own; `screen_against` compares sites.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import CoresetError
from fedpatchcore.features.backbones.registry import family_of
from fedpatchcore.features.fingerprint import Fingerprint

__all__ = [
    "MAX_ROWS",
    "Limits",
    "limits_of",
    "screen",
    "screen_against",
    "strangers",
    "typical_norm",
]

MAX_ROWS = 10**6
NORM_FACTOR = 10.0
MIN_SITES_TO_COMPARE = 3
BYTES_A_BLOCK = 1 << 25

# Layers of torchvision networks that certainly end in a ReLU (or in pooling after one).
RECTIFIED = {
    r"(wide_)?resne(x)?t\d\w*": r"layer[1-4](\.\d+)?",  # a residual block ends in its ReLU
    r"squeezenet1_[01]": r"features\.([1-9]|1[0-2])",  # ReLU, pooling, Fire; not 0
}


@dataclass(frozen=True)
class Limits:
    """What rows of one backbone can be.

    Attributes:
        norm_low, norm_high: L2 norm of a row; ``inf`` where nothing bounds it.
        nonnegative: whether every value is at least zero.
        max_rows: rows a section may hold.
        max_images: images a section may claim; None for no limit.
        whole_squares: whether squared norms are integers (each layer scaled to norm 1).
    """

    norm_low: float
    norm_high: float
    nonnegative: bool
    max_rows: int
    max_images: int | None
    whole_squares: bool = False


def limits_of(
    fingerprint: Fingerprint,
    *,
    exact: bool = True,
    max_rows: int = MAX_ROWS,
    max_images: int | None = None,
) -> Limits:
    """What the backbone behind ``fingerprint`` can produce.

    Args:
        exact: False if sites send other things than features as they are, such as means or
            noised rows: then only the caps remain.
    """
    unit = exact and fingerprint.layer_norm == "unit"
    high = math.inf
    if unit:
        high = math.sqrt(len(fingerprint.layers))
    elif exact and family_of(fingerprint.architecture).bounded:
        high = math.sqrt(fingerprint.dimension)
    return Limits(
        norm_low=0.0,
        norm_high=high,
        nonnegative=exact and _rectified(fingerprint.architecture, fingerprint.layers),
        max_rows=max_rows,
        max_images=max_images,
        whole_squares=unit,
    )


def _rectified(architecture: str, layers: tuple[str, ...]) -> bool:
    """Whether every layer is known to end in a ReLU; False where in doubt."""
    for network, layer in RECTIFIED.items():
        if re.fullmatch(network, architecture):
            return all(re.fullmatch(layer, name) for name in layers)
    return False


def screen(
    site: str,
    section: str,
    rows: np.ndarray,
    limits: Limits,
    *,
    images: int | None = None,
    tolerance: float = 1e-3,
) -> None:
    """Refuse rows ``[k, D]`` that the backbone cannot have produced.

    Shape, dtype and finiteness are taken as checked (`Contribution.check`).

    Args:
        images: how many images the site claims for the section, if that is to be checked.
        tolerance: slack for rounding: relative to the bound of norms, and of negative values
            relative to the length of their row.

    Raises:
        CoresetError: naming site, section, reason and how many rows are concerned.
    """
    where = f"section '{section}' of site '{site}'"
    if len(rows) > limits.max_rows:
        raise CoresetError(f"{where} holds {len(rows):,} rows, the limit is {limits.max_rows:,}")
    if images is not None and limits.max_images is not None and images > limits.max_images:
        raise CoresetError(f"{where} claims {images:,} images, the limit is {limits.max_images:,}")
    norms = _norms(rows)
    slack = tolerance * (limits.norm_high if math.isfinite(limits.norm_high) else 1.0)
    low, high = limits.norm_low - slack, limits.norm_high + slack
    if (bad := (norms < low) | (norms > high)).any():
        raise CoresetError(
            f"{where}: norm out of range in {bad.sum():,} of {len(rows):,} rows "
            f"(found {norms[bad].max():.4g}, this backbone gives {limits.norm_low:.4g} to "
            f"{limits.norm_high:.4g})"
        )
    if limits.whole_squares:
        whole = np.sqrt(np.round(norms**2))
        if (bad := np.abs(norms - whole) > slack).any():
            raise CoresetError(
                f"{where}: norm out of range in {bad.sum():,} of {len(rows):,} rows (found "
                f"{norms[bad][0]:.4g}; with layer-norm=unit its square is a whole number)"
            )
    if limits.nonnegative and (bad := rows.min(1) < -tolerance * norms).any():
        raise CoresetError(
            f"{where}: negative values in {bad.sum():,} of {len(rows):,} rows; "
            "the layers of this backbone end in a ReLU"
        )


def screen_against(peers: Mapping[str, np.ndarray]) -> dict[str, str]:
    """For features without a bound: sites whose rows are of another order of magnitude.

    A site is refused if the median norm of its rows ``[k, D]`` is more than a factor 10
    above or below the median over sites. Fewer than three sites show no majority: nobody is
    refused.

    Returns:
        ``{site: reason}``.
    """
    return strangers({site: typical_norm(rows) for site, rows in peers.items()})


def typical_norm(rows: np.ndarray) -> float:
    """Median L2 norm of rows ``[k, D]``."""
    return float(np.median(_norms(rows)))


def strangers(typical: Mapping[str, float]) -> dict[str, str]:
    """`screen_against`, from each site's `typical_norm`."""
    if len(typical) < MIN_SITES_TO_COMPARE:
        return {}
    middle = float(np.median(list(typical.values())))
    return {
        site: f"its rows have a median norm of {norm:.4g}, the median over sites is {middle:.4g}: "
        f"more than a factor {NORM_FACTOR:g} apart"
        for site, norm in typical.items()
        if not middle / NORM_FACTOR <= norm <= middle * NORM_FACTOR
    }


def _norms(rows: np.ndarray) -> np.ndarray:
    """L2 norm of each row in float64 ``[k]``, a block at a time; huge values do not overflow."""
    step = max(1, BYTES_A_BLOCK // (8 * rows.shape[1]))
    blocks = range(0, len(rows), step)
    parts = [np.linalg.norm(rows[at : at + step].astype(np.float64), axis=1) for at in blocks]
    return np.concatenate(parts) if parts else np.empty(0)
