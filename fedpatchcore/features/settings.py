"""Settings of the features: the network, what it sees of a picture, and how a site runs it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.data.value_range import parse_range
from fedpatchcore.devices.names import check_device
from fedpatchcore.features.backbones.registry import FAMILIES, family_of
from fedpatchcore.features.engines.registry import ENGINES, TORCH
from fedpatchcore.settings import Settings, setting
from fedpatchcore.spelling import nearest

__all__ = ["FeatureSettings"]


WITHOUT_WEIGHTS = [f'"{one.name}"' for one in FAMILIES if not one.needs_weights]


class FeatureSettings(Settings):
    """What the features are, and how they are extracted."""

    title: ClassVar[str] = "Features"

    backbone: str = setting(
        "wide_resnet50_2",
        "any classification network of torchvision, efficientnet_lite0 (weights by pip), "
        f"dinov2_vits14 (from a file), timm:NAME, or {' or '.join(WITHOUT_WEIGHTS)} (no weights)",
    )
    layers: str = setting(
        "", "comma-separated; empty: the backbone's customary ones (layer2,layer3)"
    )
    geometry: Literal["whole", "tiles", "crop", "full"] = setting(
        "whole",
        "whole: the frame as it is shaped; tiles: large pictures cut up, at their own resolution; "
        "crop: the centre alone, as the paper, which says what share it sees; full: the frame "
        "squeezed into a square",
    )
    image_size: int = setting(
        224,
        "pixels a side of the square the backbone sees, or of a square of as many; of a tile",
        ge=32,
        le=2048,
    )
    tile_overlap: int = setting(
        192,
        "pixels that neighbouring tiles share, at most half a tile: with less, networks show seams",
        ge=0,
        le=1024,
    )
    neighbourhood: int = setting(
        3, "a patch is the average over this many grid positions, odd", ge=1, le=15
    )
    layer_norm: Literal["auto", "none", "unit"] = setting(
        "auto",
        "unit: each layer's vector to norm 1; none: as the paper; auto: unit for networks, none "
        "for the filter bank",
    )
    precision: Literal["float32", "bfloat16", "float16"] = setting(
        "float32",
        "of the network: bfloat16 is quicker on a processor or GPU that has it, and takes several "
        "times as long on one that has not; float16 is for GPUs; banks of different "
        "precisions never mix",
    )
    jpeg_draft: bool = setting(
        False,
        "decode large JPEG files at 1/2, 1/4 or 1/8, never below twice the size that is needed; "
        "features get a fingerprint of their own",
    )
    value_range: str = setting(
        "",
        "black and white of files of more than 8 bits, 10bit or 0..1023; floats need it, 0.0..1.0; "
        "empty: all 16 bits",
    )
    weights: str = setting(
        "", "a file, a torchvision entry (IMAGENET1K_V1), or empty: search (README)"
    )
    download_weights: bool = setting(
        False, "let torchvision download weights that are found nowhere"
    )
    batch_size: int = setting(8, "images a forward pass", ge=1, le=4096)
    device: str = setting(
        "auto",
        "where features, coresets and searches are made: auto, cpu, cuda, cuda:1, or all (features "
        "on every GPU, the rest on the first)",
    )
    engine: str = setting(
        TORCH,
        "what runs the network on a processor: openvino and onnxruntime, extras to install, are "
        "quicker and give the same features in float32, checked on the first pictures",
        words=(TORCH, *ENGINES),
    )
    compile: bool = setting(
        False, "compile the network with torch.compile: minutes at the start, quicker after"
    )
    threads: int = setting(0, "compute threads a process; 0: one a core", ge=0, le=1024)
    workers: int = setting(
        0,
        "threads that read and decode images ahead; 0: one for every two cores, up to 8; beside a "
        "GPU one a core, up to 16",
        ge=0,
        le=256,
    )
    max_bad_images: float = setting(
        0.1, "share of unreadable images that is put up with", ge=0, le=1
    )
    cache_gb: float = setting(20.0, "features kept on a site's disk, GB; 0: no cache", ge=0)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.neighbourhood % 2 == 0:
            raise ValueError(f"neighbourhood: must be odd, got {self.neighbourhood}")
        parse_range(self.value_range)
        check_device("device", self.device)
        if self.engine != TORCH and self.compile:
            raise ValueError(f"compile: is torch's own, and the engine is {self.engine}")
        return self

    @model_validator(mode="after")
    def _known_family(self) -> Self:
        """A name of ours mistyped, before it is looked for among torchvision's networks."""
        own = [one.name for one in FAMILIES if one.name and not one.known]
        near = nearest(self.backbone.partition("/")[0], own, cutoff=0.8)
        if near and not family_of(self.backbone).name:
            raise ValueError(f"backbone: unknown backbone '{self.backbone}'{near}")
        return self
