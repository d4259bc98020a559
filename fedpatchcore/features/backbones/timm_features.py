"""Networks of timm as feature extractors, ``timm:NAME``: an extra, weights from a file.

timm (Wightman, *PyTorch image models*) gives the maps of a network's stages by ``features_only``. A
layer is a stage by timm's own name of it (``layer2``, ``blocks.4``); those of stride 8 and 16 are
the customary ones. Nothing is fetched from a hub unless ``download-weights`` says so: a file, or
what a hub's cache on this machine holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType

import torch
from torch import Tensor, nn

from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbones.loaded import Loaded, layers_asked
from fedpatchcore.features.backbones.states import fitting
from fedpatchcore.features.backbones.weights import find_weights, read_state, state_sha256
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.spelling import mended, nearest, typed

__all__ = ["check", "load", "require_known"]

PREFIX = "timm:"
STRIDES = (8, 16)  # of the customary layers
PLAIN = re.compile(r"[A-Za-z0-9_.]+")  # a name of timm's own, no hub and no folder


def load(config: FeatureSettings) -> Loaded:
    """The network with the weights that are found for it."""
    timm, name = require_known(config.backbone)
    whole = _whole(timm, name)
    fixed = bool(whole.pretrained_cfg.get("fixed_input_size"))
    if fixed and config.geometry not in ("crop", "full"):
        raise ConfigError(
            mended(
                f"{config.backbone} takes squares of one size, not geometry={config.geometry}",
                typed("geometry", "full"),
            )
        )
    known = _stages(timm, name)
    layers = layers_asked(config.layers) or _customary(config.backbone, known)
    for layer in layers:
        if layer not in known:
            raise ConfigError(
                f"backbone '{config.backbone}' has no layer '{layer}'; it has {', '.join(known)}"
            )
    file = find_weights(config.backbone, config.weights, download=config.download_weights)
    state = _fitting(whole, read_state(file.path), config.backbone, where=str(file.path))
    indices = sorted(list(known).index(layer) for layer in layers)
    told = {"out_indices": indices}
    if fixed:
        told["img_size"] = config.image_size
    overlay = {"state_dict": state, "custom_load": False}
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, features_only=True, **told
        )
    return Loaded(
        Stages(network, [list(known)[at] for at in indices]).eval().requires_grad_(False),
        layers,
        state_sha256({k: v for k, v in state.items() if "num_batches" not in k}),
        f"{file.path} ({file.source})",
        tuple(map(float, whole.pretrained_cfg["mean"])),
        tuple(map(float, whole.pretrained_cfg["std"])),
        stride=max(known[layer] for layer in layers),
    )


def check(backbone: str, state: Mapping[str, Tensor], *, where: str) -> None:
    """Raise WeightsError unless these are the network's weights."""
    timm, name = require_known(backbone)
    _fitting(_whole(timm, name), state, backbone, where=where)


def require_known(backbone: str) -> tuple[ModuleType, str]:
    """timm, and its name of the backbone. Raises ConfigError if either is not there."""
    name = backbone.removeprefix(PREFIX)
    try:
        import timm
    except ImportError:
        raise ConfigError(
            mended(f"backbone '{backbone}' needs timm", "pip install 'fedpatchcore[timm]'")
        ) from None
    if not PLAIN.fullmatch(name) or not timm.is_model(name):
        raise ConfigError(
            f"unknown backbone '{backbone}'{nearest(name, timm.list_models())}: timm has no "
            "network of this name"
        )
    return timm, name


class Stages(nn.Module):
    """timm's list of maps as ``{layer: [B, C, h, w]}``."""

    def __init__(self, network: nn.Module, layers: list[str]) -> None:
        super().__init__()
        self.network, self.layers = network, layers
        self.last = str(getattr(network, "output_fmt", "")).endswith("NHWC")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.network(images)
        maps = [one.permute(0, 3, 1, 2) for one in maps] if self.last else maps
        return dict(zip(self.layers, maps, strict=True))


def _whole(timm: ModuleType, name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # construction draws initial weights
        return timm.create_model(name, pretrained=False)


def _stages(timm: ModuleType, name: str) -> dict[str, int]:
    """Each stage's name and its stride in pixels, in their order."""
    with torch.random.fork_rng(devices=[]):
        try:
            network = timm.create_model(name, pretrained=False, features_only=True)
        except (AssertionError, RuntimeError, TypeError):
            raise ConfigError(f"timm gives no maps of the stages of '{name}'") from None
    return {one["module"]: int(one["reduction"]) for one in network.feature_info.info}


def _customary(backbone: str, known: Mapping[str, int]) -> tuple[str, ...]:
    found = [[layer for layer, one in known.items() if one == stride] for stride in STRIDES]
    if not all(found):
        raise ConfigError(
            mended(
                f"backbone '{backbone}' has no customary layers: name some of {', '.join(known)}",
                typed("layers", "LAYER,LAYER"),
            )
        )
    return tuple(layers[-1] for layers in found)


def _fitting(
    whole: nn.Module, state: Mapping[str, Tensor], backbone: str, *, where: str
) -> dict[str, Tensor]:
    """All but the classifier's tensors, checked."""
    heads = whole.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    optional = tuple(f"{one}." for one in heads)
    return fitting(whole.state_dict(), state, backbone, where=where, optional=optional)
