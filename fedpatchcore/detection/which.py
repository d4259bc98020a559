"""Which search serves on a device: the one place that decides.

On a CPU `fedpatchcore.detection.exact`. On a GPU torch (`fedpatchcore.detection.on_device`), which
is exact; or FAISS' flat index, if FAISS sees this GPU and answered a trial clearly quicker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

from fedpatchcore.detection.exact import ExactSearch
from fedpatchcore.detection.on_device import DeviceSearch
from fedpatchcore.devices.faiss import faiss_for, gpus_of_faiss
from fedpatchcore.devices.memory import OutOfMemory

__all__ = ["Index", "index_of", "serving"]

TRIAL = 20_000, 784, 512  # rows, queries and dimension
CLEARLY = 1.5  # times quicker; below that an answer to the last digit counts more
TURNS = 3


class _Faiss:
    """FAISS' flat index on a GPU; distances within 1e-3 of the true ones.

    Bank and queries are centred on the bank's mean first: FAISS works with
    ‖q‖² − 2q·b + ‖b‖², which loses digits when the cloud lies far from the origin.
    """

    def __init__(self, rows: np.ndarray, device: torch.device) -> None:
        faiss = faiss_for("a search on the GPU by FAISS")
        self._middle = rows.mean(0, dtype=np.float64).astype(np.float32)
        self._resources = faiss.StandardGpuResources()  # must outlive the index
        index = faiss.IndexFlatL2(rows.shape[1])
        self._index = faiss.index_cpu_to_gpu(self._resources, device.index or 0, index)
        self._index.add(np.ascontiguousarray(rows - self._middle, dtype=np.float32))

    def __len__(self) -> int:
        return self._index.ntotal

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        centred = np.ascontiguousarray(queries - self._middle, dtype=np.float32)
        squared, rows = self._index.search(centred, k)
        return np.sqrt(np.maximum(squared, 0.0)), rows


Index = ExactSearch | DeviceSearch | _Faiss


def index_of(rows: np.ndarray, device: torch.device | str | None) -> Index:
    """An index of rows ``[M, D]``; None is the CPU."""
    device = torch.device(device or "cpu")
    if device.type == "cpu":
        return ExactSearch(rows)
    return _Faiss(rows, device) if serving(device) == "FAISS" else DeviceSearch(rows, device)


def serving(device: torch.device) -> str:
    """``exact`` (on a CPU), ``torch`` or ``FAISS``."""
    if device.type == "cpu":
        return "exact"
    return _trial(device.type, device.index or 0)


@lru_cache
def _trial(kind: str, number: int) -> str:
    """Who answers quicker, once a process."""
    if number >= gpus_of_faiss():
        return "torch"
    rows, queries, dimension = TRIAL
    given = np.random.default_rng(0).standard_normal((rows + queries, dimension), np.float32)
    device = torch.device(kind, number)
    try:
        took = {
            name: _seconds(make(given[:rows], device), given[rows:])
            for name, make in (("torch", DeviceSearch), ("FAISS", _Faiss))
        }
    except (RuntimeError, OutOfMemory):  # FAISS' build does not know this GPU
        return "torch"
    return "FAISS" if took["FAISS"] * CLEARLY < took["torch"] else "torch"


def _seconds(index: Index, queries: np.ndarray) -> float:
    def turn(work: Callable[[], object]) -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    return min(turn(lambda: index.search(queries, 1)) for _ in range(1 + TURNS))
