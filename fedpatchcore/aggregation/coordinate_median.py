"""coordinate_median: per coordinate, the median over sites of *aligned* rows.

Row i of one coreset has nothing to do with row i of another, so a median over row numbers
mixes unrelated patches. Here rows are first aligned: a codebook (k-means over rows capped
per site) cuts feature space into cells, and each site is represented in a cell by the mean
of its rows there. Then, with f = ``tolerated`` faulty sites (Yin et al., ICML 2018, for the
median; the support rule follows from counting):

* a cell supported by ≤ f sites could be the work of faulty sites alone: it is rejected,
  unless f + 1 sites do not even make the product (see ``single_source``);
* with ≥ 2f + 1 supporting sites the row is the coordinate-wise median of their positions:
  whatever f sites send, each coordinate stays within the range of the honest ones;
* in between, the row is the medoid (the position closest to the others), counted as flagged.
"""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np

from fedpatchcore.aggregation.common import Donor, Merged, Settings, covering_radius, union
from fedpatchcore.errors import CoresetError

__all__ = ["coordinate_median"]

ROWS_A_CELL = 2  # pooled rows per supporting site that a cell should hold on average
KMEANS_ITERATIONS = 10


def coordinate_median(donors: Sequence[Donor], settings: Settings) -> Merged:
    """Median bank of at most ``settings.size`` rows.

    With one donor only there is nobody to compare with: its rows pass as they are, flagged,
    if ``single_source="admit"``; with "drop" a CoresetError says that nothing is left.
    ``weighted`` has no effect: a median in which large sites vote more is not robust.
    """
    if len(donors) <= settings.tolerated:
        return _unconfirmed(donors, settings)
    rows, origin = union(donors)
    cells = _cells(donors, rows, settings)
    features: list[np.ndarray] = []
    flagged = 0
    admitted = np.zeros(len(rows), dtype=bool)
    order = np.argsort(cells, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1):
        sites = np.unique(origin[members])
        if len(sites) <= settings.tolerated:
            continue
        positions = np.stack([rows[members[origin[members] == s]].mean(0) for s in sites])
        if len(sites) >= 2 * settings.tolerated + 1:
            features.append(np.median(positions, axis=0).astype(np.float32))
        else:
            features.append(_medoid(positions))
            flagged += 1
        admitted[members] = True
    if not features:
        raise CoresetError(
            f"coordinate_median: no cell is supported by more than {settings.tolerated} of "
            f"{len(donors)} sites; lower tolerated-sites or let sites send more rows"
        )
    bank = np.stack(features)
    return Merged(
        bank,
        np.full(len(bank), -1, dtype=np.int32),
        covering_radius(rows[admitted], bank),
        flagged,
        int((~admitted).sum()),
    )


def _unconfirmed(donors: Sequence[Donor], settings: Settings) -> Merged:
    """A section made at so few sites that no row of it can be confirmed by another site."""
    if settings.single_source == "drop":
        names = ", ".join(d.site for d in donors)
        raise CoresetError(
            f"coordinate_median: only {names} makes this product, too few to tolerate "
            f"{settings.tolerated} faulty site(s), and single-source='drop'"
        )
    from fedpatchcore.aggregation.federated_coreset import federated_coreset

    merged = federated_coreset(donors, settings)
    return Merged(merged.features, merged.origin, merged.radius, flagged=len(merged.features))


def _cells(donors: Sequence[Donor], rows: np.ndarray, settings: Settings) -> np.ndarray:
    """Cell number of each row, int64 ``[N]``; the codebook sees equally many rows a site."""
    cap = int(np.median([len(d.features) for d in donors]))
    capped = np.concatenate([d.features[:cap] for d in donors])
    wanted = len(capped) // (ROWS_A_CELL * min(len(donors), 2 * settings.tolerated + 1))
    count = max(1, min(settings.size, wanted))
    kmeans = faiss.Kmeans(
        rows.shape[1],
        count,
        niter=KMEANS_ITERATIONS,
        seed=settings.seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(capped) + 1,
        gpu=False,
    )
    kmeans.train(np.ascontiguousarray(capped))
    return kmeans.index.search(np.ascontiguousarray(rows), 1)[1][:, 0]


def _medoid(positions: np.ndarray) -> np.ndarray:
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2).sum(1)
    return positions[int(distances.argmin())].astype(np.float32)
