"""Any torchvision classification CNN as a frozen feature extractor, cut off at its last layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import get_model, list_models
from torchvision.models.feature_extraction import create_feature_extractor

from fedpatchcore.errors import ConfigError, WeightsError
from fedpatchcore.features.backbones.loaded import Loaded, layers_asked
from fedpatchcore.features.backbones.registry import FAMILIES
from fedpatchcore.features.backbones.states import fitting
from fedpatchcore.features.backbones.weights import find_weights, read_state, state_sha256
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.spelling import mended, nearest, typed

__all__ = ["MEAN", "STD", "build_network", "check", "cut", "folded", "load"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
DEFAULT_LAYERS = {
    "squeezenet1_1": ("features.7", "features.12"),
    "squeezenet1_0": ("features.7", "features.12"),
}
HEADS = ("fc.", "classifier.", "head.", "heads.", "AuxLogits.", "aux1.", "aux2.")


def load(config: FeatureSettings) -> Loaded:
    """The network with the weights that are found for it, cut off at its last layer."""
    require_known(config.backbone)
    layers = layers_asked(config.layers) or default_layers(config.backbone)
    file = find_weights(config.backbone, config.weights, download=config.download_weights)
    whole = build_network(config.backbone, read_state(file.path), where=str(file.path))
    network = cut(whole, config.backbone, layers)
    used = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    source = f"{file.path} ({file.source})"
    return Loaded(network, layers, state_sha256(used), source, MEAN, STD, quicker=folded)


def require_known(backbone: str) -> None:
    """Raise ConfigError unless torchvision has a classification network of this name."""
    known = list_models(module=torch_models())
    if backbone in known:
        return
    own = [name for one in FAMILIES if one.name for name in one.known or (one.name,)]
    hint = nearest(backbone, [*own, *known])
    raise ConfigError(
        f"unknown backbone '{backbone}'{hint}: use '{', '.join(own)}' or a torchvision "
        "classification network such as wide_resnet50_2, resnet18, squeezenet1_1"
    )


def default_layers(backbone: str) -> tuple[str, ...]:
    """Layers used when none are named; ConfigError if the network has no customary choice."""
    if backbone in DEFAULT_LAYERS:
        return DEFAULT_LAYERS[backbone]
    if "resne" in backbone:
        return ("layer2", "layer3")
    raise ConfigError(
        mended(
            f"backbone '{backbone}' has no customary layers: name two of its own",
            typed("layers", "LAYER,LAYER"),
        )
    )


def build_network(backbone: str, state: Mapping[str, Tensor], *, where: str) -> nn.Module:
    """The network with ``state`` loaded in float32, frozen, in eval mode.

    The classifier may be missing from ``state``; anything else missing, left over or of a
    wrong shape raises WeightsError naming the file (``where``) and the first such key.
    """
    require_known(backbone)
    with torch.random.fork_rng(devices=[]):  # construction draws initial weights
        network = get_model(backbone, weights=None)
    own = network.state_dict()
    if extra := sorted(k for k in state if k not in own and not k.startswith(HEADS)):
        raise WeightsError(f"{where} does not fit {backbone}: '{extra[0]}' is not part of it")
    found = fitting(own, state, backbone, where=where, optional=HEADS)
    network.load_state_dict(found, strict=False)
    for module in network.modules():
        if getattr(module, "inplace", False):  # else a later ReLU would overwrite a named layer
            module.inplace = False
    return network.eval().requires_grad_(False)


def check(backbone: str, state: Mapping[str, Tensor], *, where: str) -> None:
    """Raise WeightsError unless these are the network's weights."""
    build_network(backbone, state, where=where)


def cut(network: nn.Module, backbone: str, layers: Sequence[str]) -> nn.Module:
    """A module ``images [B, 3, H, W] → {layer: map}`` that computes no deeper than needed."""
    known = [name for name, _ in network.named_modules() if name]
    for layer in layers:
        if layer not in known:
            body = [n for n in known if not f"{n}.".startswith(HEADS) and n.count(".") < 2]
            raise ConfigError(
                f"backbone '{backbone}' has no layer '{layer}'; it has {', '.join(body[:32])}"
            )
    return create_feature_extractor(network, return_nodes={name: name for name in layers})


def folded(module: nn.Module) -> nn.Module:
    """The same maps with each batch norm folded into the convolution before it (in place)."""
    from torch.fx.experimental.optimization import fuse

    return fuse(module.eval(), inplace=True)


def torch_models():
    """The torchvision module whose models are classification networks."""
    from torchvision import models

    return models
