"""Networks without a download."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.models import get_model

__all__ = ["random_squeezenet"]


def random_squeezenet(path: Path, seed: int = 7) -> Path:
    """Write SqueezeNet weights drawn from a seed: enough to test plumbing, useless otherwise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(get_model("squeezenet1_1", weights=None).state_dict(), path)
    return path
