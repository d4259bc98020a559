"""Near-identical images: copies, re-saved files, two shots of a part that did not move.

Parts of one product look alike, so likeness must be judged by detail and against the set itself.
Each image becomes a thumbnail of `SIDE` × `SIDE` grey pixels in which only details of about one to
four pixels are left: brightness and slow shades are gone. The distance of two images is 1 − R,
where R is the correlation of one thumbnail with the best fit of the other and the slopes, which is
the other moved by up to a pixel or so (Lucas, Kanade, IJCAI 1981). Images nearer than `SHARE` of
what lies between an image and its eighth neighbour, and than `MOST`, are near-identical, and so are
images that share such a neighbour.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.errors import ImageError

__all__ = [
    "SIDE",
    "alike",
    "common",
    "details",
    "joined",
    "limit_of",
    "near_pairs",
    "thumbnails",
]

SIDE = 64
"""Pixels of a thumbnail's side."""
SHARE = 0.05
MOST = 0.02
LEAST = 1e-4  # what saving a picture anew costs; nearer than this is the same picture
FEW = 1e-3  # the limit where there are too few images to compare a pair with
NEIGHBOURS = 16  # nearest thumbnails, by plain correlation, that are looked at closely
TYPICAL = 8  # shots of one part are seldom more
MOVED = 1.5  # thumbnail pixels that a shift may be
BLOCK = 64  # images whose neighbours are compared at once

Read = Callable[[Path], Image.Image]


def thumbnails(paths: Sequence[Path], read: Read) -> tuple[np.ndarray, np.ndarray]:
    """Small grey pictures of image files.

    Args:
        read: opens a picture, at a thumbnail's size or more; raises ImageError.

    Returns:
        float32 ``[N, SIDE, SIDE]`` of grey levels, 0 where unreadable; bool ``[N]``, True where
        readable.
    """

    def one(path: Path) -> np.ndarray | None:
        try:
            image = read(path).convert("L")
        except ImageError:
            return None
        small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return np.asarray(small, dtype=np.uint8)

    small = np.zeros((len(paths), SIDE, SIDE), dtype=np.float32)
    fine = np.zeros(len(paths), dtype=bool)
    with ThreadPoolExecutor(max(1, min(8, (os.cpu_count() or 2) // 2))) as pool:
        for at, found in enumerate(pool.map(one, paths)):
            if found is not None:
                small[at], fine[at] = found, True
    return small, fine


def details(small: np.ndarray) -> np.ndarray:
    """Thumbnails ``[N, S, S]`` → what is left between two blurs, mean 0 and norm 1.

    A thumbnail without any detail becomes all zeros.
    """
    found = np.empty(small.shape, dtype=np.float32)
    for at, one in enumerate(small):
        found[at] = _blurred(one, 0.7) - _blurred(one, 2.0)
    flat = found.reshape(len(found), small.shape[1] * small.shape[2])
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    plain = norm < 0.05 * small.shape[1]  # under a twentieth of a grey level a pixel
    flat /= np.where(plain, np.inf, norm)
    return found


def near_pairs(detail: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Each image and its nearest others → (at, other, distance), distance in [0, 1].

    Args:
        detail: float32 ``[N, S, S]`` of `details`.

    Yields:
        Up to `NEIGHBOURS` an image. The distance of two images without detail is 0.
    """
    count = len(detail)
    most = min(NEIGHBOURS, count - 1)
    if most < 1:
        return
    coarse = _halved(detail)
    blank = ~detail.reshape(count, -1).any(axis=1)
    for start in range(0, count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, count))
        likeness = coarse[rows] @ coarse.T
        likeness[:, blank] = -1
        likeness[np.ix_(blank[rows], blank)] = 1
        likeness[np.arange(len(rows)), rows] = -2
        near = np.argpartition(-likeness, most - 1, axis=1)[:, :most]
        for at, others in zip(rows, near, strict=True):
            if blank[at]:
                yield from ((int(at), int(o), 0.0 if blank[o] else 1.0) for o in others)
                continue
            for other, far in zip(others, _distances(detail[at], detail[others]), strict=True):
                yield int(at), int(other), 1.0 if blank[other] else float(far)


def alike(paths: Sequence[Path], read: Read) -> list[list[int]]:
    """Sets of near-identical images → positions in ``paths``, two or more a set.

    No set holds more than a quarter of the images (three, of few): the limit of what is
    near-identical is halved until none does. Unreadable images are in no set. The sets depend on
    the images alone, not on their order.
    """
    small, fine = thumbnails(paths, read)
    at = np.flatnonzero(fine)
    return [[int(at[i]) for i in one] for one in joined(details(small[at]))]


def joined(detail: np.ndarray) -> list[list[int]]:
    """`alike` of thumbnails that are there already."""
    pairs = list(near_pairs(detail))
    limit, largest = limit_of(pairs, len(detail)), common(len(detail))
    while limit >= LEAST:
        found = _chained([(a, b) for a, b, far in pairs if far <= limit], len(detail))
        if all(len(one) <= largest for one in found):
            return found
        limit /= 2
    return []


def common(count: int) -> int:
    """So many of ``count`` images are not near-identical: the rule would be too coarse for them."""
    return max(3, count // 4)


def limit_of(pairs: Sequence[tuple[int, int, float]], count: int) -> float:
    """Distance up to which two images of this set are near-identical."""
    if count <= TYPICAL:
        return FEW
    far: dict[int, list[float]] = {}
    for at, _, distance in pairs:
        far.setdefault(at, []).append(distance)
    typical = float(np.median([sorted(one)[min(TYPICAL, len(one)) - 1] for one in far.values()]))
    return min(MOST, max(LEAST, SHARE * typical))


def _chained(edges: Sequence[tuple[int, int]], count: int) -> list[list[int]]:
    """Connected sets of two or more, each sorted, by their first."""
    parent = list(range(count))

    def top(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for a, b in edges:
        high, low = sorted((top(a), top(b)))
        parent[low] = high
    sets: dict[int, list[int]] = {}
    for at in range(count):
        sets.setdefault(top(at), []).append(at)
    return [one for one in sets.values() if len(one) > 1]


def _distances(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 − R of each of ``others`` ``[K, S, S]``, fitted by ``one`` and the slopes → ``[K]``.

    The slopes are the mean of both pictures' slopes: then the fit is right to second order. One
    that would move the picture by more than `MOVED` pixels counts as no move at all, for the
    slopes of a periodic pattern fit any phase of it.
    """
    count = len(others)
    basis = np.empty((count, 3, *one.shape), dtype=np.float32)
    basis[:, 0] = one
    for axis in (0, 1):
        basis[:, 1 + axis] = (
            np.gradient(others, axis=1 + axis) / 2 + np.gradient(one, axis=axis) / 2
        )
    basis = basis.reshape(count, 3, -1)
    shared = (basis @ others.reshape(count, -1, 1)).astype(np.float64)
    gram = (basis @ basis.transpose(0, 2, 1)).astype(np.float64) + 1e-9 * np.eye(3)
    fit = np.linalg.solve(gram, shared)[..., 0]
    plain, best = shared[:, 0, 0], np.sqrt(np.clip((fit * shared[..., 0]).sum(axis=1), 0, 1))
    moved = np.hypot(fit[:, 1], fit[:, 2]) > MOVED * np.abs(fit[:, 0])
    found = np.where(moved | (plain <= 0), plain, best)
    return np.clip(1 - found, 0, 1)


def _halved(detail: np.ndarray) -> np.ndarray:
    """Averages over 2 × 2 pixels, as rows of norm 1 ``[N, S²/4]``."""
    count, side, _ = detail.shape
    small = detail.reshape(count, side // 2, 2, side // 2, 2).mean(axis=(2, 4)).reshape(count, -1)
    norm = np.linalg.norm(small, axis=1, keepdims=True)
    return small / np.where(norm > 0, norm, 1)


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of a square picture, edges repeated."""
    return _blur(picture.shape[0], sigma) @ picture @ _blur(picture.shape[0], sigma).T


def _blur(side: int, sigma: float) -> np.ndarray:
    """The blur of a line of pixels as a matrix ``[S, S]``."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(side, dtype=np.float32), sigma, axis=0, mode="nearest")
