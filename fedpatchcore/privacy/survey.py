"""A first release over all features, so that cells lie where a product's patches are.

The slice that a codebook cuts is where *public* patches vary; what lies outside it is taken to be
as in public images. A product's patches are elsewhere, all of them about alike, and every row of a
bank is then off by as much: more than cells tell patches apart by. One vector mends that, the mean
over all features, and it takes little of the budget: a single cell gets the mass of all images.

So the first of several rounds of ``cells`` is `CellSums` over `survey_of` a codebook, one cell and
all features, with the share ``dp-first-share`` of the budget; the others are over the codebook
moved to that mean outside its slice (`moved`), which is post-processing. Within the slice nothing
moves: cells have means of their own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedpatchcore.privacy.cells import CellSums
from fedpatchcore.privacy.codebook import Codebook

__all__ = ["moved", "survey_of"]

WIDER = 1.5  # radius of the survey in radii of the slice, which is a part of all features


def survey_of(book: Codebook) -> Codebook:
    """One cell at the centre of a codebook, with all features for its slice."""
    features = len(book.centre)
    return Codebook(
        book.centre,
        np.eye(features, dtype=np.float32),
        np.zeros((1, features), np.float32),
        np.zeros(features, np.float32),
        book.radius * WIDER,
        f"{book.source}, one cell over all features",
    )


def moved(book: Codebook, survey: CellSums, released: np.ndarray, *, sigma: float) -> Codebook:
    """A codebook at the mean that a survey over it saw, outside its slice.

    Args:
        released: a total of the survey, whose noise has standard deviation ``sigma``.
    """
    mean = survey.centroids(released, sigma=sigma).coordinates[0].astype(np.float64)
    basis = book.basis.astype(np.float64)
    outside = mean - basis @ (basis.T @ mean)
    centre = (book.centre + outside).astype(np.float32)
    return replace(book, centre=centre, source="an earlier release")
