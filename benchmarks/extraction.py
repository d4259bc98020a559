"""Images a second from files on disk to patch features in memory, against the network alone.

    python benchmarks/extraction.py [--repeats 3] [--network wide] [--only rows]

makes all tables of section 12 but JPEG's, in some six minutes on two quiet cores.

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

The second table (`--only settings`): one and two compute threads, and none, one or two threads
that decode ahead; with none, the calling thread decodes. "bare" has the same compute threads.
Each half runs in a process of its own: idle compute threads sleep, as this library asks for, or
spin as OpenMP does by default.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
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

from fedpatchcore.config import RunConfig
from fedpatchcore.data.images import load_image
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.backbones.weights import read_state
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.site.setup import use_threads

SPINS = 300_000  # what GNU's OpenMP does if nothing is said


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


def networks(config: RunConfig) -> tuple[Backbone, torch.nn.Module, list[str]]:
    """The backbone, torchvision's network cut at the same layers, and these layers."""
    backbone = build_backbone(config)
    layers = list(backbone.fingerprint.layers)
    plain = get_model(config.backbone, weights=None).eval()
    plain.load_state_dict(read_state(Path(config.weights)), strict=False)
    for module in plain.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return backbone, create_feature_extractor(plain, return_nodes={n: n for n in layers}), layers


@torch.inference_mode()
def bare(network: torch.nn.Module, images: torch.Tensor, size: int) -> None:
    """The network and nothing else, batch by batch."""
    for block in images.split(size):
        network(block)


def measure(
    config: RunConfig, name: str, size: int, images: int, repeats: int, workers: int
) -> dict[str, object]:
    """One row of the table."""
    backbone, network, layers = networks(config)
    paths = list(products(name)[name].train[:images])
    serial = Serial(backbone, network, layers)
    tool = Extractor(backbone, batch_size=size, workers=workers)
    tensors = torch.stack([serial.prepare(p) for p in paths])
    last = {"memory_format": torch.channels_last}
    tensors_last, network_last = tensors.contiguous(**last), backbone._runners[0].network

    ways = {
        "bare": lambda: bare(network, tensors, size),
        "bare, channels last": lambda: bare(network_last, tensors_last, size),
        "serial": lambda: serial(paths, size),
        "pipeline": lambda: tool.all(paths),
    }
    before, after = serial(paths[:size], size), tool.all(paths[:size])[0].dense()
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


def settings(config: RunConfig, size: int, images: int, repeats: int) -> list[dict[str, object]]:
    """Every combination of compute and decoding threads, by turns."""
    backbone, network, _ = networks(config)
    paths = list(products("impeller")["impeller"].train[:images])
    pixels = np.stack([backbone.read(p) for p in paths])
    tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    tool = Extractor(backbone, batch_size=size)
    ways: dict[tuple[int, int | None], Callable[[], object]] = {}
    for threads in (1, 2):
        ways[threads, None] = lambda: bare(network, tensors, size)
        for workers in (0, 1, 2):

            def work(workers: int = workers) -> None:
                tool.workers = workers
                tool.all(paths)

            ways[threads, workers] = work
    times: dict[tuple[int, int | None], list[tuple[float, float]]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for (threads, workers), work in ways.items():
            use_threads(threads)
            taken = timed(work)
            if repeat:
                times[threads, workers].append(taken)
    rows = []
    for (threads, workers), taken in times.items():
        if workers is None:
            continue
        wall, cpu = (statistics.median(t[at] for t in taken) for at in (0, 1))
        plain = times[threads, None]
        rows.append(
            {
                "network": config.backbone,
                "batch": size,
                "idle threads": "spin" if os.environ.get("GOMP_SPINCOUNT") else "sleep",
                "threads": threads,
                "workers": workers,
                "images/s": images / wall,
                "images/s at best": images / min(t[0] for t in taken),
                "of bare": statistics.median(t[0] for t in plain) / wall,
                "of bare, both at best": min(t[0] for t in plain) / min(t[0] for t in taken),
                "CPU ms an image": 1e3 * cpu / images,
                "of bare, CPU": statistics.median(t[1] for t in plain) / cpu,
            }
        )
    return rows


def both_policies(network: str, repeats: int) -> list[dict[str, object]]:
    """`settings` in processes of their own, for OpenMP reads its environment when it is loaded."""
    found: list[dict[str, object]] = []
    for policy in ({"OMP_WAIT_POLICY": "PASSIVE"}, {"GOMP_SPINCOUNT": str(SPINS)}):
        words = [sys.executable, "-W", "ignore", __file__, "--child", "--network", network]
        words += ["--repeats", str(repeats)]
        environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"} | policy
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found += json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1, help="compute threads of the rows")
    parser.add_argument("--workers", type=int, default=0, help="decoding threads; 0: the default")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--network", choices=("squeezenet", "wide", "both"), default="both")
    parser.add_argument("--only", choices=("rows", "settings", "both"), default="both")
    parser.add_argument("--name", default="", help="results/extraction<name>.json")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    kept: dict[str, list[dict[str, object]]] = {"rows": [], "settings": []}
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        small, large = squeezenet(cache_gb=0.0), wide(Path(folder))
        plan: list[tuple[RunConfig, str, int, int]] = []
        if told.network != "wide":
            sets = ("magnetic_tile", "impeller")
            plan += [(small, name, size, 32) for name in sets for size in (1, 8, 32)]
        if told.network != "squeezenet":
            plan += [
                (large, "impeller", size, images) for size, images in ((1, 6), (8, 8), (32, 32))
            ]
        if told.only != "settings" and not told.child:
            use_threads(told.threads)
            for config, name, size, images in plan:
                row = measure(config, name, size, images, told.repeats, told.workers)
                kept["rows"].append(row)
                print(row, file=sys.stderr, flush=True)
        if told.child:
            for config, size, images in ((small, 8, 24), (large, 8, 8)):
                if config.backbone in {c.backbone for c, *_ in plan}:
                    kept["settings"] += settings(config, size, images, told.repeats)
            print(json.dumps(kept["settings"]))
            return
        if told.only != "rows":
            kept["settings"] = both_policies(told.network, told.repeats)
    keep(f"extraction{told.name}", kept)
    for title, rows in kept.items():
        if rows:
            show(f"Extraction, {title}", rows)
    print(f"\nall in {time.perf_counter() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
