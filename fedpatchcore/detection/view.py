"""Patches as a section of a bank sees them: cut to length, through a metric, as waves."""

from __future__ import annotations

import numpy as np

from fedpatchcore.errors import BankError

__all__ = ["View", "clipped", "waved"]


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
        row_metrics: np.ndarray | None = None,
    ) -> None:
        if student is not None:
            raise BankError("a student has no rows that patches could be compared with")
        if row_metrics is not None:  # a patch is seen through all of them, side by side
            metric = np.concatenate(list(row_metrics), axis=1)
        self._metric, self._phase = metric, None
        self.rows = rows if metric is None else rows @ metric
        if row_metrics is not None:
            own = self.rows.reshape(len(rows), len(rows), -1)
            self.rows = own[np.arange(len(rows)), np.arange(len(rows))]
        if amplitudes is not None:
            self._phase = self.rows[0]
            self.rows = amplitudes[None]
            self._length = float(np.linalg.norm(amplitudes))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features float32 ``[..., D]`` → float32 ``[..., r]``; of row metrics ``[..., M r]``."""
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


def clipped(features: np.ndarray, norm: float) -> np.ndarray:
    """Features ``[..., D]`` with every vector scaled down to L2 norm ``norm`` at most."""
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return features * np.minimum(1.0, norm / np.maximum(lengths, 1e-12)).astype(np.float32)
