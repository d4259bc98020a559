"""Images a second from files on disk to patch features in memory, against the network alone.

    python benchmarks/extraction.py [--threads 1] [--workers 0] [--repeats 5] [--network wide]

Four ways over the same images, in turn, in one process:

- *bare*: the torchvision network, cut at the same layers, as it comes (eager, channels first),
  on tensors that already lie in memory; no averaging of neighbours, no concatenation.
- *bare, channels last*: the same in the memory layout that the pipeline uses.
- *serial*: what this library did before: decode, resize and normalise one image after another
  in the calling thread, channels first.
- *pipeline*: `Extractor.all` as it is now, without a cache.

Medians over the repeats. "cpu" compares processor seconds instead of the clock: it says what
the work costs on a machine that is busy otherwise. Wide ResNet runs with random weights, which
cost the same time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import keep, products, show, squeezenet
from safetensors.torch import save_file
from torch.nn import functional as F
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from fedpatchcore.backbones import Backbone, build_backbone
from fedpatchcore.config import RunConfig
from fedpatchcore.data.images import load_image
from fedpatchcore.extraction import Extractor
from fedpatchcore.setup import use_threads


def wide(folder: Path) -> RunConfig:
    """Wide ResNet-50-2 with seeded random weights."""
    torch.manual_seed(0)
    file = folder / "wide.safetensors"
    save_file(get_model("wide_resnet50_2", weights=None).state_dict(), file)
    return RunConfig(backbone="wide_resnet50_2", weights=str(file), geometry="full")


class Serial:
    """The path that the pipeline replaced."""

    def __init__(self, backbone: Backbone, network: torch.nn.Module, layers: list[str]) -> None:
        self.backbone, self.network, self.layers = backbone, network, layers
        self.mean = torch.tensor(backbone.fingerprint.mean).view(3, 1, 1)
        self.std = torch.tensor(backbone.fingerprint.std).view(3, 1, 1)

    def prepare(self, path: Path) -> torch.Tensor:
        pixels = np.array(self.backbone.geometry.image(load_image(path)), dtype=np.float32)
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).div_(255.0)
        return tensor.sub_(self.mean).div_(self.std)

    @torch.inference_mode()
    def batch(self, paths: list[Path]) -> np.ndarray:
        maps = self.network(torch.stack([self.prepare(p) for p in paths]))
        parts, grid = [], maps[self.layers[0]].shape[-2:]
        for name in self.layers:
            layer = F.avg_pool2d(maps[name], 3, stride=1, padding=1, count_include_pad=False)
            if layer.shape[-2:] != grid:
                layer = F.interpolate(layer, size=tuple(grid), mode="bilinear", align_corners=False)
            parts.append(F.normalize(layer, dim=1))
        return torch.cat(parts, dim=1).permute(0, 2, 3, 1).contiguous().numpy()

    def __call__(self, paths: list[Path], size: int) -> np.ndarray:
        features: np.ndarray | None = None
        for low in range(0, len(paths), size):
            found = self.batch(paths[low : low + size])
            if features is None:
                features = np.empty((len(paths), *found.shape[1:]), np.float32)
            features[low : low + size] = found
        return features


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(
    config: RunConfig, name: str, size: int, images: int, repeats: int, workers: int
) -> dict[str, object]:
    """One row of the table."""
    backbone = build_backbone(config)
    layers = list(backbone.fingerprint.layers)
    plain = get_model(config.backbone, weights=None).eval()
    plain.load_state_dict(_state(config), strict=False)
    for module in plain.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    network = create_feature_extractor(plain, return_nodes={n: n for n in layers})
    paths = list(products(name)[name].train[:images])
    serial = Serial(backbone, network, layers)
    tool = Extractor(backbone, batch_size=size, workers=workers)
    tensors = torch.stack([serial.prepare(p) for p in paths])
    last = {"memory_format": torch.channels_last}
    tensors_last, network_last = tensors.contiguous(**last), backbone._network

    @torch.inference_mode()
    def bare(module: torch.nn.Module, images: torch.Tensor) -> None:
        for block in images.split(size):
            module(block)

    ways = {
        "bare": lambda: bare(network, tensors),
        "bare, channels last": lambda: bare(network_last, tensors_last),
        "serial": lambda: serial(paths, size),
        "pipeline": lambda: tool.all(paths),
    }
    before, after = serial(paths[:size], size), tool.all(paths[:size])[0]
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, work in ways.items():
            taken = timed(work)
            if repeat:  # the first turn warms up
                times[way].append(taken)
    wall = {w: statistics.median(t[0] for t in v) for w, v in times.items()}
    cpu = {w: statistics.median(t[1] for t in v) for w, v in times.items()}
    return {
        "images": name,
        "network": config.backbone,
        "batch": size,
        "threads": torch.get_num_threads(),
        "workers": tool.workers,
        **{f"{way} images/s": len(paths) / seconds for way, seconds in wall.items()},
        "pipeline/bare": wall["bare"] / wall["pipeline"],
        "pipeline/bare, channels last": wall["bare, channels last"] / wall["pipeline"],
        "serial/bare": wall["bare"] / wall["serial"],
        "pipeline/bare cpu": cpu["bare"] / cpu["pipeline"],
        "pipeline/bare, channels last cpu": cpu["bare, channels last"] / cpu["pipeline"],
        "serial/bare cpu": cpu["bare"] / cpu["serial"],
        "largest difference": f"{np.abs(before - after).max():.1e}",
    }


def _state(config: RunConfig) -> dict[str, torch.Tensor]:
    from fedpatchcore.backbones.weights import read_state

    return read_state(Path(config.weights))


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--network", choices=("squeezenet", "wide", "both"), default="both")
    parser.add_argument("--name", default="", help="results/extraction<name>.json")
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        plan = []
        if arguments.network != "wide":
            small = squeezenet(cache_gb=0.0)
            sets = ("magnetic_tile", "impeller")
            plan += [(small, name, size, 32) for name in sets for size in (1, 8, 32)]
        if arguments.network != "squeezenet":
            config = wide(Path(folder))
            plan += [(config, "impeller", size, images) for size, images in ((1, 4), (8, 8))]
            plan += [(config, "impeller", 32, 32)]
        for config, name, size, images in plan:
            repeats = arguments.repeats if images < 32 or "squeeze" in config.backbone else 1
            row = measure(config, name, size, images, repeats, arguments.workers)
            rows.append(row)
            keep(f"extraction{arguments.name}", rows)
            print(row, file=sys.stderr, flush=True)
    show(f"Extraction, {arguments.threads} threads", rows)


if __name__ == "__main__":
    main()
