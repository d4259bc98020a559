"""Vision transformers as feature extractors: torchvision's, and DINOv2's from a file.

Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021; Oquab et al., "DINOv2", TMLR 2024,
whose blocks scale what they add by a learnt factor a channel. A layer is a block, by its number
from 0, and its map the patch tokens behind it, after the network's last norm, as DINOv2's own
``get_intermediate_layers`` gives them. A picture's sides must be multiples of the patch.

One network serves both kinds of file: torchvision's names of tensors are read as those of DINOv2,
which timm and the first authors' code use too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedpatchcore.errors import ConfigError, WeightsError
from fedpatchcore.features.backbones.loaded import Loaded, layers_asked
from fedpatchcore.features.backbones.positions import spread
from fedpatchcore.features.backbones.states import fitting
from fedpatchcore.features.backbones.weights import find_weights, read_state, state_sha256
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.spelling import mended, nearest, typed

__all__ = ["NETWORKS", "Transformer", "build", "check", "load"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
EPSILON = 1e-6  # of the layer norms
HEADS = ("heads.", "head.", "head_dist.", "fc_norm.", "mask_token", "pre_logits.")


@dataclass(frozen=True)
class Shape:
    """A network's sizes.

    Attributes:
        patch: pixels a side. width: of a token. depth: blocks. heads: of attention.
        hidden: width inside a block's perceptron, in token widths.
        scaled: whether what a block adds is scaled, as DINOv2 does.
        registers: further tokens that stand for no patch.
        customary: blocks that are layers where none are named; empty: they must be named.
    """

    patch: int
    width: int
    depth: int
    heads: int
    scaled: bool = False
    registers: int = 0
    customary: tuple[str, ...] = ()
    hidden: int = 4


def _dinov2(width: int, depth: int, heads: int, registers: int = 0) -> Shape:
    return Shape(14, width, depth, heads, True, registers, (str(depth - 1),))


NETWORKS = {
    "vit_b_16": Shape(16, 768, 12, 12),
    "vit_b_32": Shape(32, 768, 12, 12),
    "vit_l_16": Shape(16, 1024, 24, 16),
    "vit_l_32": Shape(32, 1024, 24, 16),
    "vit_h_14": Shape(14, 1280, 32, 16),
    "dinov2_vits14": _dinov2(384, 12, 6),
    "dinov2_vitb14": _dinov2(768, 12, 12),
    "dinov2_vitl14": _dinov2(1024, 24, 16),
    "dinov2_vits14_reg": _dinov2(384, 12, 6, 4),
    "dinov2_vitb14_reg": _dinov2(768, 12, 12, 4),
    "dinov2_vitl14_reg": _dinov2(1024, 24, 16, 4),
}


def load(config: FeatureSettings) -> Loaded:
    """The network with the weights that are found for it, cut off at its last layer."""
    shape = _shape(config.backbone)
    if config.image_size % shape.patch:
        below = config.image_size // shape.patch * shape.patch
        size = str(below or shape.patch)
        raise ConfigError(
            mended(
                f"{config.backbone} sees squares of {shape.patch} pixels, which do not fill "
                f"image-size {config.image_size}",
                f"{typed('image-size', size)} or {typed('image-size', str(below + shape.patch))}",
            )
        )
    layers = layers_asked(config.layers) or shape.customary
    if not layers:
        raise ConfigError(
            mended(
                f"backbone '{config.backbone}' has no customary layers: name blocks from 0 to "
                f"{shape.depth - 1}",
                typed("layers", f"{shape.depth // 2},{shape.depth * 3 // 4}"),
            )
        )
    file = find_weights(config.backbone, config.weights, download=config.download_weights)
    network = build(config.backbone, read_state(file.path), layers, where=str(file.path))
    used = state_sha256(network.state_dict())
    source = f"{file.path} ({file.source})"
    return Loaded(network, layers, used, source, MEAN, STD, stride=shape.patch)


def check(backbone: str, state: Mapping[str, Tensor], *, where: str) -> None:
    """Raise WeightsError unless these are the network's weights."""
    build(backbone, state, (str(_shape(backbone).depth - 1),), where=where)


def build(
    backbone: str, state: Mapping[str, Tensor], layers: Sequence[str], *, where: str
) -> Transformer:
    """The network with ``state`` loaded in float32, frozen, in eval mode.

    Blocks behind the last of ``layers`` are left out, and may be missing from ``state``.

    Raises:
        ConfigError: a network or a block that there is not.
        WeightsError: a tensor is missing or does not fit; ``where`` names the file.
    """
    shape = _shape(backbone)
    for layer in layers:
        if not layer.isdecimal() or int(layer) >= shape.depth:
            raise ConfigError(
                f"backbone '{backbone}' has no layer '{layer}'; its blocks are 0 to "
                f"{shape.depth - 1}"
            )
    state = _renamed(state)
    positions = state.get("pos_embed")
    if positions is None or positions.dim() != 3:
        raise WeightsError(f"{where} does not fit {backbone}: 'pos_embed' is missing")
    side = round(max(positions.shape[1] - 1, 0) ** 0.5)
    with torch.random.fork_rng(devices=[]):  # construction draws initial weights
        network = Transformer(shape, [int(layer) for layer in layers], side)
    own = network.state_dict()
    network.load_state_dict(fitting(own, state, backbone, where=where), strict=True)
    return network.eval().requires_grad_(False)


def _shape(backbone: str) -> Shape:
    if backbone in NETWORKS:
        return NETWORKS[backbone]
    raise ConfigError(
        f"unknown backbone '{backbone}'{nearest(backbone, NETWORKS)}: there are "
        f"{', '.join(NETWORKS)}"
    )


class Transformer(nn.Module):
    """Images ``[B, 3, H, W]`` → ``{layer: [B, width, H / patch, W / patch]}``.

    Args:
        blocks: the numbers of those whose tokens are asked for.
        side: of the square grid that the positions were learnt on; another grid's are drawn
            between them.
    """

    def __init__(self, shape: Shape, blocks: Sequence[int], side: int) -> None:
        super().__init__()
        width = shape.width
        self.shape, self.wanted = shape, tuple(blocks)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, shape.patch, stride=shape.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, width))
        if shape.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, shape.registers, width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(max(blocks) + 1))
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        patches = self.patch_embed.proj(images)
        count, width, *grid = patches.shape
        official = self.shape.scaled and not self.shape.registers
        first, rest = spread(
            self.pos_embed, grid, offset=0.1 if official else 0.0, smooth=self.shape.registers > 0
        )
        tokens = patches.flatten(2).transpose(1, 2) + rest
        extra = [(self.cls_token + first).expand(count, -1, -1)]
        if self.shape.registers:
            extra.append(self.register_tokens.expand(count, -1, -1))
        tokens = torch.cat([*extra, tokens], dim=1)
        found = {}
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.wanted:
                patches = self.norm(tokens)[:, 1 + self.shape.registers :]
                found[str(number)] = patches.transpose(1, 2).reshape(count, width, *grid)
        return {str(number): found[str(number)] for number in self.wanted}


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and added to what came in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=EPSILON) for _ in range(2))
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp.fc1 = nn.Linear(width, shape.hidden * width)
        self.mlp.fc2 = nn.Linear(shape.hidden * width, width)
        if shape.scaled:
            self.ls1, self.ls2 = nn.Module(), nn.Module()
            for one in (self.ls1, self.ls2):
                one.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        mixed = self.attn.qkv(self.norm1(tokens))
        mixed = mixed.reshape(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*mixed.unbind(0))
        seen = self.attn.proj(seen.transpose(1, 2).reshape(count, length, width))
        tokens = tokens + (seen * self.ls1.gamma if hasattr(self, "ls1") else seen)
        thought = self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(tokens))))
        return tokens + (thought * self.ls2.gamma if hasattr(self, "ls2") else thought)


TORCHVISION = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(linear_1|0)\.", ".mlp.fc1."),
    (r"\.mlp\.(linear_2|3)\.", ".mlp.fc2."),
)


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's names of tensors as DINOv2's; DINOv2's are left as they are."""
    found = {}
    for key, value in state.items():
        for old, new in TORCHVISION:
            key = re.sub(old, new, key)
        # some of DINOv2's files number blocks within chunks: blocks.0.11.norm1.weight
        found[re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key)] = value
    return found
