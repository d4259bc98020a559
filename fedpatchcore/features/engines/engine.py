"""A backbone run by another engine than torch, after that engine has shown that it gives the same.

Exports are for one size of picture and batches of any; each is made on the first batch of its size,
checked against torch in float32 on that batch (and on noise, since pictures may be blank), and kept
on disk with the result. Image scores need no check of their own: a bank's rows being the same, no
distance to the nearest of them moves by more than the patch does (triangle inequality).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from fedpatchcore.devices.halves import native_half
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.engines.graph import Graph, exported
from fedpatchcore.features.engines.kept import Kept, home
from fedpatchcore.features.engines.registry import TORCH, kind_of
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.spelling import mended, typed
from fedpatchcore.texts import one_line

__all__ = ["TOLERANCE", "Engine", "build_engine"]

log = logging.getLogger("fedpatchcore")

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}
"""Largest L2 distance of a patch from torch's float32, in lengths of that patch's vector."""
RECIPE = 1  # raised whenever exports come out differently
SIZES = 8  # of pictures that are ready at a time
Run = Callable[[np.ndarray], np.ndarray]


def build_engine(name: str, network: nn.Module, fingerprint: Fingerprint, by_torch: Run) -> Engine:
    """The engine of this name for a network on the processor.

    Args:
        by_torch: float32 ``[B, H, W, 3]`` → float32 ``[B, h, w, D]``, by torch in float32.

    Raises:
        ConfigError: it is not installed, or does not compute in the fingerprint's precision here.
    """
    kind = kind_of(name, fingerprint.precision)
    if fingerprint.precision != "float32" and not native_half(fingerprint.precision):
        raise ConfigError(
            mended(
                f"this processor has no {fingerprint.precision} instructions, and engine '{name}' "
                "would take float32 without a word",
                typed("precision", "float32"),
                typed("engine", TORCH),
            )
        )
    return Engine(name, kind.load(), network, fingerprint, by_torch)


class Engine:
    """Normalised float32 images ``[B, H, W, 3]`` → patch features float32 ``[B, h, w, D]``."""

    def __init__(
        self,
        name: str,
        module: ModuleType,
        network: nn.Module,
        fingerprint: Fingerprint,
        by_torch: Run,
    ) -> None:
        self.name = name
        self.apart: dict[tuple[int, int], float] = {}
        self._module, self._by_torch = module, by_torch
        self._graph, self._fingerprint = Graph(network, fingerprint), fingerprint
        self._ready: OrderedDict[tuple[int, int], Run] = OrderedDict()
        self._lock = threading.Lock()  # a compiled graph answers one at a time
        self._folder: Path | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Raises ConfigError if the engine cannot take the network, or gives something else."""
        size = images.shape[1:3]
        with self._lock:
            if size not in self._ready:
                self._ready[size] = self._made(images)
                if len(self._ready) > SIZES:
                    self._ready.popitem(last=False)
            self._ready.move_to_end(size)
            return self._ready[size](images)

    def _made(self, images: np.ndarray) -> Run:
        """The function for pictures of this size: from disk, or exported and checked."""
        height, width = images.shape[1:3]
        kept = Kept(self._place() / self._key(height, width), self._module.SUFFIXES)
        apart = kept.apart()
        if apart is None:
            log.warning(
                "exporting the network to %s for pictures of %d by %d: once on this machine, "
                "some seconds",
                self.name,
                width,
                height,
            )
            self._export(kept, height, width)
        run = self._compiled(kept)
        if apart is None:
            apart = self._checked(run, images)
            try:
                kept.note(apart)
            except OSError as error:
                log.warning("the export cannot be kept (%s)", error.strerror)
        self.apart[height, width] = apart
        return run

    def _place(self) -> Path:
        if self._folder is None:
            try:
                return home()
            except OSError as error:
                log.warning("exports cannot be kept on disk (%s)", error.strerror or error)
                self._folder = Path(tempfile.mkdtemp(prefix="fedpatchcore-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _key(self, height: int, width: int) -> str:
        told = (RECIPE, self.name, self._module.version(), torch.__version__, height, width)
        return hashlib.sha256(f"{told}{self._fingerprint.to_json()}".encode()).hexdigest()

    def _export(self, kept: Kept, height: int, width: int) -> None:
        with tempfile.TemporaryDirectory(dir=kept.stem.parent) as folder:
            beside = Path(folder) / "graph"
            try:
                self._module.export(exported(self._graph, height, width), beside)
                for file in kept.files:
                    beside.with_suffix(file.suffix).replace(file)
            except Exception as error:  # of three exporters, and of what they call
                raise self._refused(f"cannot take this network ({one_line(error, 200)})") from None

    def _compiled(self, kept: Kept) -> Run:
        try:
            return self._module.compiled(
                kept.stem, self._fingerprint.precision, torch.get_num_threads()
            )
        except Exception as error:  # of the engine
            kept.drop()
            raise self._refused(f"cannot run this network ({one_line(error, 200)})") from None

    def _checked(self, run: Run, images: np.ndarray) -> float:
        """How far the engine's patches lie from torch's at most, in lengths of a patch."""
        noise = np.random.default_rng(0).standard_normal((1, *images.shape[1:]), np.float32)
        found = [_apart(run(one), self._by_torch(one)) for one in (images, noise)]
        apart = float(np.max(found))  # NaN if either is
        limit = TOLERANCE[self._fingerprint.precision]
        if not apart <= limit:
            raise self._refused(
                f"gives other features than torch (apart by {apart:.2g} of a patch's length, "
                f"limit {limit:g})"
            )
        log.info("%s: patches apart from torch's by %.2g of their length", self.name, apart)
        return apart

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(mended(f"engine '{self.name}' {why}", typed("engine", TORCH)))


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    lengths = np.linalg.norm(theirs, axis=-1)
    least = max(float(lengths.max()), 1e-12) * 1e-3  # a patch of next to nothing is no measure
    return float((np.linalg.norm(ours - theirs, axis=-1) / np.maximum(lengths, least)).max())
