"""Nearest-neighbour distances → image score and anomaly map (PatchCore section 3.3).

Scores stay absolute, in feature distance: the same patch gets the same score in every image,
at every site, so that one threshold and one colour scale hold for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedpatchcore.detection.approximate import WORTHWHILE, VerifiedSearch
from fedpatchcore.detection.image_score import image_scores
from fedpatchcore.detection.own_metrics import OwnMetrics
from fedpatchcore.detection.search import Ballot, NearestNeighbours
from fedpatchcore.detection.student import student_scores, unflattened
from fedpatchcore.detection.view import View, clipped

if TYPE_CHECKING:
    from fedpatchcore.bank.memory_bank import MemoryBank

__all__ = [
    "PatchScores",
    "Scorer",
    "flat",
    "nearer",
    "score_patches",
]


@dataclass(frozen=True)
class PatchScores:
    """Scores of several images, whose grids may differ.

    Attributes:
        patches: of each image float32 ``[h, w]``, distance of each patch to the bank.
        images: float64 ``[B]``, the image scores.
        nearest: of each image int64 ``[h, w]``, the bank row nearest to each patch.
    """

    patches: Sequence[np.ndarray]
    images: np.ndarray
    nearest: Sequence[np.ndarray]

    @classmethod
    def joined(cls, parts: Iterable[PatchScores]) -> PatchScores:
        """Batches one after the other."""
        parts = list(parts)
        return cls(
            [one for part in parts for one in part.patches],
            np.concatenate([part.images for part in parts]),
            [one for part in parts for one in part.nearest],
        )


def flat(grids: Iterable[np.ndarray]) -> np.ndarray:
    """The values of all images' grids in a line."""
    found = [one.ravel() for one in grids]
    return np.concatenate(found) if found else np.empty(0)


def score_patches(
    bank: NearestNeighbours | Ballot | VerifiedSearch | OwnMetrics,
    rows: np.ndarray,
    features: np.ndarray,
    *,
    neighbours: int = 1,
    reweight: int = 0,
    top: int = 0,
) -> PatchScores:
    """Score patch features ``[B, h, w, D]`` against a bank.

    A patch's score is its mean distance to the ``neighbours`` nearest rows; an image's
    score is its largest patch score, or what `image_scores` makes of ``top``. With ``reweight`` =
    b > 0 the maximum is multiplied by 1 − softmax weight of the nearest row among the b rows
    nearest to it (paper, eq. 7).

    Args:
        rows: the bank's features ``[M, D]``, needed for re-weighting.
    """
    batch, height, width, dimension = features.shape
    flat = features.reshape(-1, dimension)
    distances, nearest = bank.search(flat, neighbours)
    patches = distances.mean(1).reshape(batch, height * width)
    closest = nearest[:, 0].reshape(batch, height * width)
    images = image_scores(patches, top)
    if reweight:
        worst = patches.argmax(1)
        at = np.arange(batch) * height * width + worst
        images *= _weights(bank, rows, flat[at], nearest[at, 0], reweight)
    return PatchScores(
        patches.reshape(batch, height, width), images, closest.reshape(batch, height, width)
    )


def _weights(
    bank: NearestNeighbours | Ballot | VerifiedSearch,
    rows: np.ndarray,
    tests: np.ndarray,
    nearest: np.ndarray,
    b: int,
) -> np.ndarray:
    """1 − exp‖m_test − m*‖ / Σ_{m ∈ N_b(m*)} exp‖m_test − m‖, computed without overflow."""
    around = bank.around(rows, nearest, b)
    distances = np.linalg.norm(
        tests[:, None, :].astype(np.float64) - rows[around].astype(np.float64), axis=2
    )
    own = np.linalg.norm(tests.astype(np.float64) - rows[nearest].astype(np.float64), axis=1)
    top = np.maximum(distances.max(1), own)
    return 1.0 - np.exp(own - top) / np.exp(distances - top[:, None]).sum(1)


def nearer(one: PatchScores, other: PatchScores, top: int = 0) -> PatchScores:
    """The smaller of both distances, patch by patch: what either bank knows is normal.

    An image's score is that of `image_scores`, without re-weighting.
    """
    pairs = list(zip(one.patches, other.patches, strict=True))
    patches = [np.minimum(*pair) for pair in pairs]
    images = [image_scores(found.reshape(1, -1), top)[0] for found in patches]
    nearest = [
        np.where(mine <= theirs, *rows)
        for (mine, theirs), rows in zip(
            pairs, zip(one.nearest, other.nearest, strict=True), strict=True
        )
    ]
    return PatchScores(patches, np.array(images, np.float64), nearest)


class Scorer:
    """Scores features against one section of a bank.

    Args:
        rows: float32 ``[M, D]``.
        neighbours, reweight, top: see `score_patches`.
        origin: int32 ``[M]``, the site of each row; needed for ``votes`` > 1.
        votes: sites that must call a patch normal. 1 asks for the nearest row, whosever it is;
            with v > 1 the sites vote, see `Ballot`.
        home: the origin of rows that are trusted in a vote, since they are the judge's own.
        clip: patch features longer than this are scaled down to it, as the rows were; 0 = off.
        metric: float32 ``[D, r]``, distances are those of ``z @ metric``; None: of z itself.
        amplitudes: float32 ``[2r]``; the distance is that of `waved` phases
            ``(z − rows[0]) @ metric``, made as long as these, from these.
        student: float32 ``[P]``; the score of a patch is `student_scores`, and rows say nothing.
        row_metrics: float32 ``[M, D, r]``; the distance from row k is that of ``z @ metrics[k]``.
        device: where to search; None: the CPU.
        approximate: search banks of `WORTHWHILE` rows and more by an index where only the nearest
            row and the largest patch count (one neighbour, no votes, no GPU). Image scores stay
            exact, maps may not (`fedpatchcore.detection.approximate`).
    """

    def __init__(
        self,
        rows: np.ndarray,
        *,
        neighbours: int = 1,
        reweight: int = 0,
        top: int = 0,
        origin: np.ndarray | None = None,
        votes: int = 1,
        home: int | None = None,
        clip: float = 0.0,
        metric: np.ndarray | None = None,
        amplitudes: np.ndarray | None = None,
        student: np.ndarray | None = None,
        row_metrics: np.ndarray | None = None,
        device: torch.device | str | None = None,
        approximate: bool = False,
    ) -> None:
        self._student = None if student is None else unflattened(student, rows.shape[1])
        self._view = View(rows, metric, amplitudes, row_metrics=row_metrics)
        self.rows = rows = self._view.rows
        self.neighbours = neighbours
        self.reweight = reweight
        self.top = top
        self.clip = clip
        if row_metrics is not None:
            self._index = OwnMetrics(rows)
        elif votes > 1 and origin is not None:
            self._index = Ballot(rows, origin, votes, home=home, device=device)
        elif (
            approximate
            and len(rows) >= WORTHWHILE
            and neighbours == 1
            and not top
            and torch.device(device or "cpu").type == "cpu"
        ):
            self._index = VerifiedSearch(rows)
        else:
            self._index = NearestNeighbours(rows, device=device)

    @classmethod
    def of(
        cls,
        bank: MemoryBank,
        product: str,
        site: str = "",
        *,
        device: torch.device | str | None = None,
        approximate: bool = False,
    ) -> Scorer:
        """The scorer that a bank's header asks for, at ``site`` if one is named.

        Where the header says so (``home``), a site that judges trusts its own rows.
        """
        section = bank.section(product)
        trusts = bank.scoring.get("home", 0) and site in bank.sites
        return cls(
            section.features,
            neighbours=bank.scoring.get("neighbours", 1),
            reweight=bank.scoring.get("reweight", 0),
            top=bank.scoring.get("top", 0),
            origin=section.origin,
            votes=bank.scoring.get("votes", 1),
            home=bank.sites.index(site) if trusts else None,
            clip=float(bank.privacy.get("clip", 0.0)),
            device=device,
            approximate=approximate and bank.privacy.get("mechanism", "off") == "off",
            **section.lens,
        )

    def elsewhere(self) -> Scorer | None:
        """This scorer where nobody trusts rows of his own; None if it is one already."""
        if not isinstance(self._index, Ballot) or (index := self._index.elsewhere()) is None:
            return None
        other = copy(self)
        other._index = index
        return other

    def __call__(self, features: np.ndarray) -> PatchScores:
        """Scores of features float32 ``[B, h, w, D]``."""
        if self._student is not None:
            return _told(student_scores(self._student, features), self.top)
        if self.clip:
            features = clipped(features, self.clip)
        features = self._view(features)
        how = {"neighbours": self.neighbours, "reweight": self.reweight, "top": self.top}
        if not isinstance(self._index, VerifiedSearch):
            return score_patches(self._index, self.rows, features, **how)
        return PatchScores.joined(
            score_patches(self._index, self.rows, one[None], **how) for one in features
        )


def _told(patches: np.ndarray, top: int) -> PatchScores:
    """Scores ``[B, h, w]`` that no row is nearest to: all of the only one."""
    images = image_scores(patches.reshape(len(patches), -1), top)
    return PatchScores(patches, images, np.zeros(patches.shape, np.int64))
