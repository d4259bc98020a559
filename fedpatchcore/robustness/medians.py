"""The middle of a few points ``[s, D]`` of which a minority may be anywhere."""

from __future__ import annotations

import numpy as np

__all__ = ["central", "coordinate_median", "geometric_median"]


def coordinate_median(positions: np.ndarray) -> np.ndarray:
    """Median of each coordinate, float32 ``[D]`` (Yin et al., ICML 2018).

    With f of 2f + 1 points arbitrary, each coordinate stays within the range of the others.
    """
    return np.median(positions, axis=0).astype(np.float32)


def geometric_median(
    positions: np.ndarray, *, tol: float = 1e-7, iterations: int = 200
) -> np.ndarray:
    """The point with the least sum of L2 distances to ``positions``, float32 ``[D]``.

    Unlike the coordinate-wise median it does not depend on the axes, and as long as fewer
    than half of the points are arbitrary it stays near the rest (breakdown point 1/2,
    Lopuhaä and Rousseeuw, Annals of Statistics 1991; for federated learning: Pillutla et
    al., IEEE TSP 2022). Weiszfeld's iteration; when it lands on a data point, the step of
    Vardi and Zhang (PNAS 2000) leaves that point unless it is the median.

    Args:
        tol: stop when a step is shorter than this share of the points' typical spread.
        iterations: stop after so many steps at the latest.
    """
    points = np.asarray(positions, dtype=np.float64)
    if len(points) < 3:  # of two points any point between them is a median: take the middle
        return points.mean(0).astype(np.float32)
    middle = np.median(points, axis=0)
    spread = float(np.median(np.linalg.norm(points - middle, axis=1)))
    guess = middle
    for _ in range(iterations):
        offsets = points - guess
        distances = np.linalg.norm(offsets, axis=1)
        here = distances <= 1e-12 * max(spread, np.finfo(float).tiny)
        if here.all():
            break
        weights = 1.0 / distances[~here]
        pull = weights @ offsets[~here]  # R(y): the pull of the points elsewhere
        step = pull / weights.sum()
        if here.any():
            strength = float(np.linalg.norm(pull))
            if strength <= here.sum():  # the points here hold it: this is the median
                break
            step *= 1 - here.sum() / strength
        guess = guess + step
        if np.linalg.norm(step) <= tol * spread:
            break
    return guess.astype(np.float32)


def central(positions: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The given point nearest to ``centre`` ``[D]``, float32 ``[D]``.

    For so few points that half or more of them may be arbitrary: no mean or median of these is
    bounded, but whatever the others are, this one lies within 2 ‖h − centre‖ of each honest h.
    """
    points = np.asarray(positions, dtype=np.float64)  # squares of huge float32 overflow
    distances = np.linalg.norm(points - centre, axis=1)
    return positions[int(distances.argmin())].astype(np.float32)
