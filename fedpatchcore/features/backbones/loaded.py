"""What a family of backbones hands over: a network and all that its fingerprint tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fedpatchcore.settings import listed

__all__ = ["Loaded", "as_it_is", "layers_asked"]


def as_it_is(network: nn.Module) -> nn.Module:
    """The network, unchanged."""
    return network


@dataclass(frozen=True)
class Loaded:
    """A frozen network, ready but for its device.

    Attributes:
        network: images ``[B, 3, H, W]`` → ``{layer: [B, C, h, w]}``.
        layers: those it gives, in the order in which a patch's features are put together.
        weights_sha256: of the weights that these layers use.
        source: where they came from, for people.
        mean, std: of the three channels, that pixels in [0, 1] are normalised with.
        layer_norm: what "auto" means here.
        quicker: the network as it runs best on a CPU, equal but for the last digits. The
            fingerprint is of the weights as published.
        stride: pixels of which an image's sides are multiples, where they follow the picture.
    """

    network: nn.Module
    layers: tuple[str, ...]
    weights_sha256: str
    source: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layer_norm: str = "unit"
    quicker: Callable[[nn.Module], nn.Module] = as_it_is
    stride: int = 16


def layers_asked(layers: str) -> tuple[str, ...]:
    """The names in a ``layers`` setting; empty for the family's customary ones."""
    return listed(layers)
