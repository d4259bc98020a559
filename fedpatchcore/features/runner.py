"""One network on one device: batches of pixels in, patch features in the host's memory out.

On a GPU nothing waits: pixels go there as bytes out of pinned memory, are normalised there, and
features come back into pinned memory by a stream of their own, while the host prepares what comes
next. A batch that the device has no room for is halved, with a line, and stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from fedpatchcore.devices.memory import in_blocks
from fedpatchcore.devices.precision import ieee
from fedpatchcore.features.engines.engine import Engine, build_engine
from fedpatchcore.features.engines.registry import TORCH
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.features.patches import embed

__all__ = ["Pending", "Runner"]


class Pending:
    """Features that are under way; `result` waits for them."""

    def __init__(self, features: Tensor, landed: Callable[[], None] = lambda: None) -> None:
        self._features, self._landed = features, landed

    def result(self) -> np.ndarray:
        """Float32 ``[B, h, w, D]``."""
        self._landed()
        return self._features.numpy()


class Runner:
    """The network, its device, and what of a fingerprint decides how it is run."""

    def __init__(
        self,
        network: nn.Module,
        fingerprint: Fingerprint,
        device: torch.device,
        engine: str = TORCH,
    ) -> None:
        self.device = device
        self._fingerprint = fingerprint
        # Channels last: half the time on a CPU with AVX2, and what a GPU's tensor cores want.
        self.network = network.to(device, memory_format=torch.channels_last)
        self._mean = torch.tensor(fingerprint.mean, device=device)
        self._std = torch.tensor(fingerprint.std, device=device)
        # as a tensor there: by a plain number torch would multiply with its inverse
        self._white = torch.full((1,), 255.0, device=device)
        self._most = 1 << 30  # images at a time
        self._copies = torch.cuda.Stream(device) if self._cuda else None
        self.engine: Engine | None = None
        if engine != TORCH:
            self.engine = build_engine(engine, self.network, fingerprint, self._in_float32)

    @property
    def _cuda(self) -> bool:
        return self.device.type == "cuda"

    def submit(self, images: Sequence[np.ndarray]) -> Pending:
        """Features of images ``[S, S, 3]``, normalised float32 or bytes."""
        host = torch.from_numpy(images[0])
        host = _pinned((len(images), *host.shape), host.dtype, self._cuda)
        np.stack(images, out=host.numpy())
        into: list[Tensor] = []

        def extract(block: slice) -> None:
            features = self.forward(host[block].to(self.device, non_blocking=True))
            if not self._cuda and len(features) == len(images):
                into[:] = [features]  # as they are
                return
            if not into:
                shape = (len(images), *features.shape[1:])
                into.append(_pinned(shape, features.dtype, self._cuda))
            self._fetch(features, into[0][block])

        with self._here():
            most = in_blocks(extract, len(images), self._most, what="features")
            if most < min(self._most, len(images)):
                self._most = most
            if not self._cuda:
                return Pending(into[0])
            landed = torch.cuda.Event()
            landed.record(self._copies)
        return Pending(into[0], landed.synchronize)

    def _fetch(self, features: Tensor, into: Tensor) -> None:
        if self._copies is None:
            into.copy_(features)
            return
        self._copies.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._copies):
            into.copy_(features, non_blocking=True)
        features.record_stream(self._copies)  # its memory is not given away before

    @torch.inference_mode()
    def forward(self, batch: Tensor) -> Tensor:
        """Images ``[B, S, S, 3]`` on this device → float32 ``[B, h, w, D]`` there."""
        if self.engine is not None:
            return torch.from_numpy(self.engine(batch.numpy()))
        if batch.dtype == torch.uint8:
            batch = ((batch.float() / self._white).sub_(self._mean)).div_(self._std)
        return self._by_torch(batch, self._autocast())

    @torch.inference_mode()
    def _in_float32(self, images: np.ndarray) -> np.ndarray:
        """What an engine is compared with."""
        return self._by_torch(torch.from_numpy(images), nullcontext()).numpy()

    def _by_torch(self, batch: Tensor, precision: AbstractContextManager) -> Tensor:
        told = self._fingerprint
        batch = batch.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        with ieee(self.device):
            with precision:
                maps = self.network(batch)
            return embed(
                [maps[layer] for layer in told.layers],
                neighbourhood=told.neighbourhood,
                layer_norm=told.layer_norm,
            )

    def _autocast(self) -> AbstractContextManager:
        precision = self._fingerprint.precision
        if precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, precision))

    def _here(self) -> AbstractContextManager:
        return torch.cuda.device(self.device) if self._cuda else nullcontext()


def _pinned(shape: Sequence[int], dtype: torch.dtype, pinned: bool) -> Tensor:
    """Memory of the host that a GPU reads and writes by itself; ordinary where there is no more."""
    if pinned:
        try:
            return torch.empty(shape, dtype=dtype, pin_memory=True)
        except RuntimeError:
            pass
    return torch.empty(shape, dtype=dtype)
