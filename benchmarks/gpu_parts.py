"""The measurements of `gpu.py`, a function each: what they give is a row of its table.

Every row names its seconds, what they are compared with, and the most memory of the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.coreset.rounds import pick_in_rounds
from fedpatchcore.detection.on_device import DeviceSearch
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.devices.precision import ieee
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.extraction import Extractor, Tally

# peak figures of the makers: float32, bfloat16 dense (10^12 a second), bytes (10^12 a second)
CARDS = {
    "H200": (67, 989, 4.8),
    "H100 PCIe": (51, 756, 2.0),
    "H100": (67, 989, 3.35),
    "A100": (19.5, 312, 1.94),
    "L40S": (91, 362, 0.864),
    "L4": (30, 121, 0.3),
    "A10": (31, 125, 0.6),
    "T4": (8.1, 65, 0.32),
}
PATCHES = 28 * 28  # of an image of 224 pixels a side


def wait(device: torch.device) -> None:
    """Until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, work: Callable[[], Any], turns: int = 3) -> tuple[float, Any]:
    """The least seconds of some turns after one to warm up, and what came out."""
    out, least = work(), float("inf")
    for _ in range(turns):
        wait(device)
        begun = time.perf_counter()
        out = work()
        wait(device)
        least = min(least, time.perf_counter() - begun)
    return least, out


class PeakMemory:
    """Bytes of the device that a block took at most, with what was there before."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.bytes = device, 0

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)

    @property
    def gb(self) -> float:
        return self.bytes / 1e9


def card(device: torch.device, side: int, numbers: int) -> dict[str, Any]:
    """What the card is, and what it reaches: products of ``side`` squared, copies of so much."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    row: dict[str, Any] = {"card": name, "torch": torch.__version__}
    known = next((peaks for word, peaks in CARDS.items() if word in name), None)
    if known:
        row["paper"] = dict(zip(("float32 TFLOPS", "bfloat16 TFLOPS", "TB/s"), known, strict=True))
    for kind in (torch.float64, torch.float32, torch.bfloat16):
        x = torch.randn(side, side, device=device).to(kind)
        with ieee(device):
            seconds, _ = timed(device, lambda x=x: x @ x)
        row[f"{str(kind).removeprefix('torch.')} TFLOPS"] = 2 * side**3 / seconds / 1e12
    x = torch.zeros(numbers, device=device)
    y = torch.empty_like(x)
    seconds, _ = timed(device, lambda: y.copy_(x))
    row["TB/s"] = 8 * numbers / seconds / 1e12
    return row


# --- selection -------------------------------------------------------------------------------


def patches(rows: int, dimension: int, device: torch.device, seed: int = 0) -> Tensor:
    """Numbers like a network's: two dozen directions, rectified, some noise."""
    made = torch.Generator(device).manual_seed(seed)
    mixing = torch.randn(24, dimension, generator=made, device=device) / 5
    x = torch.empty(rows, dimension, device=device)
    for part in x.split(1 << 16):
        z = torch.randn(len(part), 24, generator=made, device=device)
        noise = torch.randn(part.shape, generator=made, device=device)
        part.copy_(torch.relu(torch.addmm(noise, z, mixing, beta=0.3)))
    return x


def plain_loop(x: Tensor, picks: int, first: int) -> Tensor:
    """The textbook loop the quickest way: one product, one argmax a pick, no word to the host."""
    norms = torch.linalg.vector_norm(x, dim=1).square_()
    far = torch.full_like(norms, torch.inf)
    at = torch.tensor([first], device=x.device)
    picked = [at]
    for _ in range(picks - 1):
        apart = torch.mv(x, x.index_select(0, at)[0]).mul_(-2).add_(norms).add_(norms[at])
        torch.minimum(far, apart, out=far)
        far[at] = -1
        at = far.argmax(keepdim=True)
        picked.append(at)
    return torch.cat(picked)


def approximate(x: Tensor, picks: int) -> Tensor:
    """The sampler of the paper's authors: distances in a random projection to 128 dimensions."""
    made = torch.Generator(x.device).manual_seed(0)
    z = x @ torch.randn(x.shape[1], 128, generator=made, device=x.device) / 128**0.5
    far = torch.cdist(z, z[:10]).mean(1)
    picked = []
    for _ in range(picks):
        at = far.argmax(keepdim=True)
        picked.append(at)
        torch.minimum(far, (z - z.index_select(0, at)).norm(dim=1), out=far)
    return torch.cat(picked)


def radius(x: Tensor, picked: Tensor) -> float:
    """Of any picks, by the search: the largest distance of a row to the nearest of them."""
    return pick_in_rounds(x, 0, x.device, first=picked).farthest ** 0.5


def k_center(
    x: Tensor, size: int, told: dict[str, Any], others: int, turns: int = 1
) -> dict[str, Any]:
    """Exact selection beside the plain loop and the sampler, which may be cut after ``others``."""
    device, first = x.device, int(np.random.default_rng(0).integers(len(x)))
    start = torch.tensor([first])
    with PeakMemory(device) as peak:
        seconds, found = timed(
            device, lambda: pick_in_rounds(x, size - 1, device, first=start), turns
        )
    moved, count = found.bounds.moved, min(size, others)
    row: dict[str, Any] = {
        "rows": len(x),
        "dimension": x.shape[1],
        "picks": size,
        "seconds": seconds,
        "radius": found.farthest**0.5,
        "looks at all rows": moved.rounds,
        "GB moved": moved.bytes / 1e9,
        "share of bandwidth": moved.bytes / seconds / 1e12 / told["TB/s"],
        "TFLOPS": moved.flops / seconds / 1e12,
        "peak GB": peak.gb,
    }
    picks = torch.tensor([first, *found.at], device=device)
    for name, work in (
        ("plain", lambda: plain_loop(x, count, first)),
        ("sampler", lambda: approximate(x, count)),
    ):
        with PeakMemory(device) as peak:
            took, other = timed(device, work, 1)
        row[f"{name} seconds"] = took * size / count
        row[f"{name} cut after"] = 0 if count == size else count
        row[f"{name} peak GB"] = peak.gb
        if count == size:
            row[f"{name} radius"] = radius(x, other)
        if name == "plain":
            row["plain picks that agree"] = int((other == picks[:count]).long().cumprod(0).sum())
    row["times the plain loop"] = row["plain seconds"] / seconds
    return row


def k_center_on_cpu(x: Tensor, size: int) -> dict[str, Any]:
    """The same rows and picks on the host: who agrees with whom."""
    device, host = x.device, x.cpu()
    begun = time.perf_counter()
    expected = greedy_k_center(host, size)
    seconds = time.perf_counter() - begun
    start = torch.tensor([int(expected.indices[0])])
    found = pick_in_rounds(x, size - 1, device, first=start)
    same = np.asarray([int(start), *found.at]) == expected.indices
    return {
        "rows": len(x),
        "picks": size,
        "CPU seconds": seconds,
        "picks that agree": int(same.sum()),
        "radius": found.farthest**0.5,
        "CPU radius": expected.radius,
        "relative difference of radii": abs(found.farthest**0.5 / expected.radius - 1),
    }


# --- search ----------------------------------------------------------------------------------


def scoring(
    bank: Tensor, batch: int, patches_each: int, turns: int, faiss_rows: int
) -> dict[str, Any]:
    """Milliseconds an image from features in the host's memory to distances there."""
    device, rows = bank.device, bank.cpu().numpy()
    queries = rows[np.random.default_rng(1).integers(len(rows), size=batch * patches_each)]
    noise = np.random.default_rng(2).standard_normal(queries.shape, np.float32)
    queries = queries + np.float32(0.2) * noise
    row: dict[str, Any] = {"bank rows": len(rows), "batch": batch, "dimension": rows.shape[1]}
    with PeakMemory(device) as peak:
        search = DeviceSearch(rows, device)
        seconds, (found, at) = timed(device, lambda: search.search(queries), turns)
    row |= {"ms": 1e3 * seconds / batch, "peak GB": peak.gb}
    whole = DeviceSearch(rows, device, cut=False)
    seconds, (same, _) = timed(device, lambda: whole.search(queries), turns)
    row["ms without TF32"] = 1e3 * seconds / batch
    row["largest difference without TF32"] = float(np.abs(same - found).max())

    def cdist() -> tuple[np.ndarray, np.ndarray]:
        near, there = torch.cdist(torch.from_numpy(queries).to(device), bank).min(1)
        return near.cpu().numpy(), there.cpu().numpy()

    if 8 * len(queries) * len(rows) < 16e9:
        with PeakMemory(device) as peak:
            seconds, (_, there) = timed(device, cdist, turns)
        row |= {"cdist ms": 1e3 * seconds / batch, "cdist peak GB": peak.gb}
        row["cdist: rows that agree"] = float((there == at[:, 0]).mean())
    if len(rows) <= faiss_rows and batch == 1:
        row |= _faiss(rows, queries, found)
    return row


def _faiss(rows: np.ndarray, queries: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    try:
        import faiss
    except ImportError:
        return {}
    flat = faiss.IndexFlatL2(rows.shape[1])
    flat.add(rows)
    seconds, (squared, _) = timed(torch.device("cpu"), lambda: flat.search(queries, 1), 1)
    apart = np.abs(np.sqrt(np.maximum(squared, 0)) - found).max()
    return {"FAISS on the CPU ms": 1e3 * seconds, "FAISS: largest difference": float(apart)}


# --- extraction ------------------------------------------------------------------------------


def files(folder: Path, count: int, side: int) -> list[Path]:
    """JPEG files like a camera's crops: soft shapes and noise."""
    rng, paths = np.random.default_rng(0), []
    for at in range(count):
        coarse = rng.integers(40, 200, (side // 16, side // 16, 3)).astype(np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
        picture = picture + rng.normal(0, 6, picture.shape)
        paths.append(folder / f"{at:04d}.jpg")
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def network(
    name: str, precision: str, device: torch.device, size: int, folder: Path, weights: Path | None
) -> Backbone:
    """A backbone; without a file of weights, with random ones, which cost the same time."""
    if weights is None:
        weights = folder / f"{name}.pth"
        if not weights.is_file():
            torch.manual_seed(0)
            torch.save(get_model(name, weights=None).state_dict(), weights)
    config = DetectorSettings(
        backbone=name,
        weights=str(weights),
        precision=precision,
        image_size=size,
        geometry="full",
        device="cpu" if device.type == "cpu" else str(device),
    )
    made = build_backbone(config)
    made._bytes = True  # also in a dry run
    return made


def latency(made: Backbone, path: Path, rows: int, *, compiled: bool, turns: int) -> dict[str, Any]:
    """One image at a time, from its file to its score: nearly all that a station waits for."""
    device = made.device
    bank = patches(rows, made.dimension, device, seed=1).cpu().numpy()
    scorer = Scorer(bank, device=device)
    if compiled:
        made.compile(1)

    def verdict() -> float:
        return float(scorer(made.extract_prepared([made.read(path)])).images[0])

    seconds, _ = timed(device, verdict, turns)
    features, _ = timed(device, lambda: made.extract_prepared([made.read(path)]), turns)
    return {
        "precision": made.fingerprint.precision,
        "compiled": compiled,
        "rows": rows,
        "ms": 1e3 * seconds,
        "features ms": 1e3 * features,
    }


def extraction(
    made: Backbone, paths: list[Path], batch: int, told: dict[str, Any], turns: int
) -> dict[str, Any]:
    """Images a second: the bare network, with all around it, and from files on."""
    device, precision = made.device, made.fingerprint.precision
    runner, side = made._runners[0], made.fingerprint.image_size
    shape = (batch, side, side, 3)
    there = torch.zeros(shape, dtype=torch.uint8, device=device)
    floats = torch.zeros((batch, 3, side, side), device=device)
    floats = floats.contiguous(memory_format=torch.channels_last)
    reps = max(1, len(paths) // batch)

    @torch.inference_mode()
    def bare() -> None:
        with ieee(device), runner._autocast():
            for _ in range(reps):
                runner.network(floats)

    def on_card() -> None:
        for _ in range(reps):
            runner.forward(there)

    pixels = [np.zeros(shape[1:], np.uint8)] * batch

    def batches() -> Iterator[list[np.ndarray]]:
        yield from (pixels for _ in range(reps))

    def without_decoding() -> None:
        for features in made.flow(batches()):
            features[0, 0, 0, 0] = 0

    tool = Extractor(made, batch_size=batch)

    def from_files() -> None:
        for _ in tool.stream(paths, Tally()):
            pass

    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        runner.network(floats)
    flops = counted.get_total_flops() / batch
    count = reps * batch
    row: dict[str, Any] = {
        "network": made.fingerprint.architecture,
        "precision": precision,
        "batch": batch,
        "decoding threads": tool.workers,
        "GFLOP an image": flops / 1e9,
    }
    with PeakMemory(device) as peak:
        for name, work, images in (
            ("bare network", bare, count),
            ("on the card", on_card, count),
            ("to the host", without_decoding, count),
            ("from files", from_files, len(paths)),
            ("from files, in one array", lambda: tool.all(paths), len(paths)),
        ):
            seconds, _ = timed(device, work, turns)
            row[f"{name} images/s"] = images / seconds
    row["peak GB"] = peak.gb
    row["from files, of bare"] = row["from files images/s"] / row["bare network images/s"]
    row["bare, of the card's products"] = (
        flops * row["bare network images/s"] / 1e12 / told[f"{precision} TFLOPS"]
    )
    return row
