"""Nearest-neighbour distances → image score and anomaly map (PatchCore section 3.3).

Scores stay absolute, in feature distance: the same patch gets the same score in every image,
at every site, so that one threshold and one colour scale hold for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from fedpatchcore.detection.approximate import WORTHWHILE, VerifiedSearch
from fedpatchcore.detection.search import Ballot, NearestNeighbours
from fedpatchcore.detection.student import student_scores, unflattened
from fedpatchcore.errors import BankError

if TYPE_CHECKING:
    from fedpatchcore.bank.memory_bank import MemoryBank

__all__ = [
    "PatchScores",
    "Scorer",
    "View",
    "anomaly_map",
    "clipped",
    "nearer",
    "score_patches",
    "waved",
]

SMOOTHING_SIGMA = 4.0  # pixels of the network's input, as the paper


@dataclass(frozen=True)
class PatchScores:
    """Scores of a batch.

    Attributes:
        patches: float32 ``[B, h, w]``, distance of each patch to the bank.
        images: float64 ``[B]``, the image scores.
        nearest: int64 ``[B, h, w]``, the bank row nearest to each patch.
    """

    patches: np.ndarray
    images: np.ndarray
    nearest: np.ndarray

    @classmethod
    def joined(cls, parts: Iterable[PatchScores]) -> PatchScores:
        """Batches one after the other."""
        parts = list(parts)
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def score_patches(
    bank: NearestNeighbours | Ballot | VerifiedSearch,
    rows: np.ndarray,
    features: np.ndarray,
    *,
    neighbours: int = 1,
    reweight: int = 0,
) -> PatchScores:
    """Score patch features ``[B, h, w, D]`` against a bank.

    A patch's score is its mean distance to the ``neighbours`` nearest rows; an image's
    score is its largest patch score. With ``reweight`` = b > 0 that maximum is multiplied by
    1 − softmax weight of the nearest row among the b rows nearest to it (paper, eq. 7).

    Args:
        rows: the bank's features ``[M, D]``, needed for re-weighting.
    """
    batch, height, width, dimension = features.shape
    flat = features.reshape(-1, dimension)
    distances, nearest = bank.search(flat, neighbours)
    patches = distances.mean(1).reshape(batch, height * width)
    closest = nearest[:, 0].reshape(batch, height * width)
    images = patches.max(1).astype(np.float64)
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


def nearer(one: PatchScores, other: PatchScores) -> PatchScores:
    """The smaller of both distances, patch by patch: what either bank knows is normal.

    An image's score is its largest patch score, without re-weighting.
    """
    patches = np.minimum(one.patches, other.patches)
    images = patches.reshape(len(patches), -1).max(1).astype(np.float64)
    nearest = np.where(one.patches <= other.patches, one.nearest, other.nearest)
    return PatchScores(patches, images, nearest)


def anomaly_map(patches: np.ndarray, size: int) -> np.ndarray:
    """Patch scores ``[B, h, w]`` → anomaly maps float32 ``[B, size, size]``, in score units.

    Bilinear upsampling, then Gaussian smoothing with σ = 4 pixels. Both are linear and work on
    rows and columns apart: two small matrix products.
    """
    down, across = (_spread(cells, size) for cells in patches.shape[1:])
    return down @ np.asarray(patches, dtype=np.float32) @ across.T


@lru_cache(maxsize=8)
def _spread(cells: int, size: int) -> np.ndarray:
    """What each of ``cells`` patches in a line gives to ``size`` pixels, ``[size, cells]``."""
    from scipy.ndimage import gaussian_filter1d  # nothing else of scoring needs it

    one = torch.eye(cells, dtype=torch.float64)[None, None]
    raised = F.interpolate(one, size=(size, cells), mode="bilinear", align_corners=False)
    return gaussian_filter1d(raised[0, 0].numpy(), SMOOTHING_SIGMA, axis=0).astype(np.float32)


class View:
    """Patches as a section of a bank sees them, to be compared by L2 distance.

    Attributes:
        rows: float32 ``[M, r]``, what they are compared with.
    """

    def __init__(
        self,
        rows: np.ndarray,
        metric: np.ndarray | None = None,
        amplitudes: np.ndarray | None = None,
        student: np.ndarray | None = None,
    ) -> None:
        if student is not None:
            raise BankError("a student has no rows that patches could be compared with")
        self._metric, self._phase = metric, None
        self.rows = rows if metric is None else rows @ metric
        if amplitudes is not None:
            self._phase = self.rows[0]
            self.rows = amplitudes[None]
            self._length = float(np.linalg.norm(amplitudes))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features float32 ``[..., D]`` → float32 ``[..., r]``."""
        if self._metric is None:
            return features
        features = features @ self._metric
        if self._phase is None:
            return features
        return waved(features - self._phase) * np.float32(self._length)


def waved(phases: np.ndarray) -> np.ndarray:
    """φ of phases ``[..., M]``: cosines, then sines, ``[..., 2M]`` of L2 norm 1."""
    return np.concatenate([np.cos(phases), np.sin(phases)], -1) / phases.dtype.type(
        phases.shape[-1] ** 0.5
    )


class Scorer:
    """Scores features against one section of a bank.

    Args:
        rows: float32 ``[M, D]``.
        origin: int32 ``[M]``, the site of each row; needed for ``votes`` > 1.
        votes: sites that must call a patch normal. 1 asks for the nearest row, whosever it is;
            with v > 1 the sites vote, see `Ballot`.
        home: the origin of rows that are trusted in a vote, since they are the judge's own.
        clip: patch features longer than this are scaled down to it, as the rows were; 0 = off.
        metric: float32 ``[D, r]``, distances are those of ``z @ metric``; None: of z itself.
        amplitudes: float32 ``[2r]``; the distance is that of `waved` phases
            ``(z − rows[0]) @ metric``, made as long as these, from these.
        student: float32 ``[P]``; the score of a patch is `student_scores`, and rows say nothing.
        device: where to search; None: the CPU.
        approximate: search banks of `WORTHWHILE` rows and more by an index where only the nearest
            row counts (one neighbour, no votes, no GPU). Image scores stay exact, maps may not
            (`fedpatchcore.detection.approximate`).
    """

    def __init__(
        self,
        rows: np.ndarray,
        *,
        neighbours: int = 1,
        reweight: int = 0,
        origin: np.ndarray | None = None,
        votes: int = 1,
        home: int | None = None,
        clip: float = 0.0,
        metric: np.ndarray | None = None,
        amplitudes: np.ndarray | None = None,
        student: np.ndarray | None = None,
        device: torch.device | str | None = None,
        approximate: bool = False,
    ) -> None:
        self._student = None if student is None else unflattened(student, rows.shape[1])
        self._view = View(rows, metric, amplitudes)
        self.rows = rows = self._view.rows
        self.neighbours = neighbours
        self.reweight = reweight
        self.clip = clip
        if votes > 1 and origin is not None:
            self._index = Ballot(rows, origin, votes, home=home, device=device)
        elif (
            approximate
            and len(rows) >= WORTHWHILE
            and neighbours == 1
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
            return _told(student_scores(self._student, features))
        if self.clip:
            features = clipped(features, self.clip)
        features = self._view(features)
        how = {"neighbours": self.neighbours, "reweight": self.reweight}
        if not isinstance(self._index, VerifiedSearch):
            return score_patches(self._index, self.rows, features, **how)
        return PatchScores.joined(
            score_patches(self._index, self.rows, one[None], **how) for one in features
        )


def _told(patches: np.ndarray) -> PatchScores:
    """Scores ``[B, h, w]`` that no row is nearest to: all of the only one."""
    images = patches.reshape(len(patches), -1).max(1).astype(np.float64)
    return PatchScores(patches, images, np.zeros(patches.shape, np.int64))


def clipped(features: np.ndarray, norm: float) -> np.ndarray:
    """Features ``[..., D]`` with every vector scaled down to L2 norm ``norm`` at most."""
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return features * np.minimum(1.0, norm / np.maximum(lengths, 1e-12)).astype(np.float32)
