"""Coresets and a bank of 600 MB each way, over the deployed federation: peak memory a process.

    python benchmarks/large_messages.py [--megabytes 600] [--sites 2]

Real processes over loopback with TLS, registered keys and the proxy. Features are all blocks
of a randomly initialised wide_resnet50_2 (14,336 dimensions): few rows make many bytes, so that
selecting and measuring radii takes no time; what the features mean is of no matter here.
Memory is the peak resident set (VmHWM) of each process, shared pages counted in each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.models import wide_resnet50_2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import keep

from tests.support.field import Field

BLOCKS = {2: (4, 512), 3: (6, 1024), 4: (3, 2048)}
LAYERS = ",".join(f"layer{n}.{at}" for n, (count, _) in BLOCKS.items() for at in range(count))
DIMENSION, PATCHES = sum(count * width for count, width in BLOCKS.values()), 28 * 28


class Memory(threading.Thread):
    """Samples the peak resident set of every process below this one, by what it is."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak: dict[str, float] = {}

    def run(self) -> None:
        while True:
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")[:4]
                    names = [Path(w.decode(errors="replace")).name for w in words if w]
                    name = next(n for n in names if n.startswith(("flower-", "flwr-", "nginx")))
                    status = (entry / "status").read_text()
                    top = int(status.split("VmHWM:")[1].split()[0]) / 1e6
                except (OSError, StopIteration, IndexError):
                    continue
                self.peak[name] = max(self.peak.get(name, 0.0), top)
            time.sleep(0.2)


def write_images(folder: Path, count: int, seed: int) -> None:
    """Noise: nothing in it repeats, so no patch is like another."""
    noise = np.random.default_rng(seed)
    for kind, number in (("train/good", count), ("test/good", 1)):
        (folder / kind).mkdir(parents=True)
        for at in range(number):
            pixels = noise.integers(0, 256, (224, 224, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{at:04d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=600.0)
    parser.add_argument("--sites", type=int, default=2)
    told = parser.parse_args()
    rows = int(told.megabytes * 1e6 / (4 * DIMENSION))
    images = int(np.ceil(rows / PATCHES)) + 3
    with tempfile.TemporaryDirectory(prefix="large-") as temporary:
        root = Path(temporary)
        torch.manual_seed(0)
        torch.save(wide_resnet50_2(weights=None).state_dict(), root / "weights.pth")
        sites = {f"plant-{at}": root / f"plant-{at}" for at in range(told.sites)}
        for at, folder in enumerate(sites.values()):
            write_images(folder / "noise", images, at)
        print(f"{told.sites} sites, {images} images each, {rows:,} rows = {told.megabytes:g} MB")
        config = {
            "backbone": "wide_resnet50_2",
            "weights": str(root / "weights.pth"),
            "layers": LAYERS,
            "geometry": "full",
            "coreset": "random",
            "coreset-size": rows,
            "global-bank-size": rows,
            "aggregation": "simple_concatenate",
            "holdout": 0.12,
            "cache-gb": 0.0,
            "compare-local": False,
            "heatmaps": 0,
            "threads": 1,
            "min-sites": told.sites,
        }
        memory = Memory()
        memory.start()
        with Field(root / "field", sites) as field:
            field.start_server()
            field.register()
            field.start_sites()
            start = time.monotonic()
            run = field.submit("large", config)
            status = field.wait(run, 3600)
            seconds = time.monotonic() - start
            if status != "finished:completed":
                print(field.log("superlink")[-6000:])
                sys.exit(f"{status}: {field.flwr('log', run, '--show')[-3000:]}")
            state = (field.root / "server" / "state" / "state.db").stat().st_size / 1e6
            trained = {e["site"]: e for e in field.events("large", "trained")}
            evaluated = {e["site"]: e for e in field.events("large", "evaluated")}
            bank = len(field.bank("large")) / 1e6
    result = {
        "megabytes_each_way": told.megabytes,
        "sites": told.sites,
        "rows": rows,
        "seconds": round(seconds),
        "bank_megabytes": round(bank),
        "superlink_database_megabytes_after": round(state),
        "bytes_up": {s: e["bytes"] for s, e in trained.items()},
        "train_seconds": {s: round(e["round_trip_seconds"]) for s, e in trained.items()},
        "evaluate_seconds": {s: round(e["round_trip_seconds"]) for s, e in evaluated.items()},
        "peak_resident_gigabytes": {
            name: round(top, 2) for name, top in sorted(memory.peak.items())
        },
    }
    for key, value in result.items():
        print(f"{key}: {value}")
    keep("large_messages", result)


if __name__ == "__main__":
    main()
