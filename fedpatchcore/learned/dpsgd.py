"""opacus's optimizer with sums on a lattice and noise of the operating system's generator.

See `fedpatchcore.learned.private` for what is replaced and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor

from fedpatchcore.learned.private import ImageNoise, clipped_steps
from fedpatchcore.privacy.noise import rounded_gaussian
from fedpatchcore.privacy.sums import STEPS_A_SIGMA

__all__ = ["ImageOptimiser"]


class ImageOptimiser(DPOptimizer):
    """Gradients of images one after the other, then one noisy step of ``plain``.

    Args:
        batch: what a sum is divided by, a public number.
        randbytes: source of the noise.
    """

    def __init__(
        self,
        plain: torch.optim.Optimizer,
        noise: ImageNoise,
        batch: int,
        randbytes: Callable[[int], bytes],
    ) -> None:
        super().__init__(
            plain,
            noise_multiplier=noise.multiplier,
            max_grad_norm=noise.clip,
            expected_batch_size=batch,
        )
        self._noise, self._randbytes = noise, randbytes
        self._total: np.ndarray | int = 0

    def take(self, gradients: Sequence[Tensor]) -> None:
        """One more image of this step, its gradients in the order of the parameters."""
        for one, gradient in zip(self.params, gradients, strict=True):
            one.grad_sample = gradient[None]
        self.signal_skip_step(True)
        self.step()

    def finish(self) -> None:
        """The step, also where it took no image."""
        for one in self.params:
            one.grad_sample = one.detach().new_zeros((0, *one.shape))
        self.signal_skip_step(False)
        self.step()
        self.zero_grad()

    def clip_and_accumulate(self) -> None:
        """Sum images' gradients in lattice steps; see `clipped_steps`."""
        for at in range(len(self.grad_samples[0])):
            flat = [g[at].detach().cpu().numpy().ravel() for g in self.grad_samples]
            self._total = self._total + clipped_steps(np.concatenate(flat), self._noise)

    def add_noise(self) -> None:
        """Noise on the lattice, once a step and coordinate, and into ``grad``."""
        size = sum(one.numel() for one in self.params)
        drawn = rounded_gaussian(float(STEPS_A_SIGMA), size, randbytes=self._randbytes)
        noisy, at = (self._total + drawn) * self._noise.step, 0
        for one in self.params:
            part = noisy[at : at + one.numel()].reshape(one.shape)
            one.grad = torch.from_numpy(part).to(one)
            at += one.numel()
        self._total = 0
