"""A GPU gives what the CPU gives: features, picks, distances, scores, verdicts.

Each test runs on the GPU (marked ``cuda``, skipped where torch sees none) and on a CPU that is
taken for one, by the same code. Nothing but torch, torchvision and pytest is needed, no fixture
from a conftest: `benchmarks/gpu.py` runs this file on hosts that have no more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedpatchcore.coreset import greedy, rounds
from fedpatchcore.coreset.greedy import greedy_k_center, random_coreset
from fedpatchcore.detection import on_device, search, which
from fedpatchcore.detection.exact import ExactSearch
from fedpatchcore.detection.on_device import DeviceSearch
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.errors import FingerprintError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.extraction import Extractor
from tests.support.clouds import cloud
from tests.support.networks import random_squeezenet

# largest difference between CPU and GPU, as a share of the largest feature
FEATURES = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 4e-3}
DISTANCE = 2e-6  # relative, on equal features
SCORE = 1e-3  # relative, of float32 features that each device has made for itself
NO_GPU = "torch sees no GPU: run on a host with one, or benchmarks/gpu.py there"


@pytest.fixture(
    params=[
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.cuda,
                pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU),
            ],
        ),
        "cpu",
    ]
)
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The GPU, or the CPU, on which the GPU's ways are then taken."""
    if request.param == "cpu":
        monkeypatch.setattr(greedy, "_by_rounds", lambda device: _asked[0])

        def index_of(rows: np.ndarray, device: torch.device | None) -> which.Index:
            return DeviceSearch(rows, device) if _asked[0] else ExactSearch(rows)

        monkeypatch.setattr(search, "index_of", index_of)
    return torch.device(request.param)


_asked = [False]


def on(device: torch.device, work: Callable, *args, **how):
    """``work(..., device=device)`` in the GPU's way, also where that is a CPU."""
    _asked[0] = True
    try:
        return work(*args, device=device, **how)
    finally:
        _asked[0] = False


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return random_squeezenet(tmp_path / "weights.pth")


def backbone(weights: Path, device: torch.device, precision: str = "float32", **more) -> Backbone:
    made = build_backbone(
        DetectorSettings(
            backbone="squeezenet1_1",
            weights=str(weights),
            geometry="full",
            image_size=96,
            precision=precision,
            device=str(device),
            **more,
        )
    )
    made._bytes = True  # as on a GPU
    return made


def on_host(weights: Path, precision: str = "float32") -> Backbone:
    made = backbone(weights, torch.device("cpu"), precision)
    made._bytes = False
    return made


def images(count: int, seed: int = 0) -> list[Image.Image]:
    """Coloured blocks, some with a bright scratch."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(count):
        pixels = rng.integers(60, 120, (12, 12, 3)).repeat(10, 0).repeat(10, 1)
        if at % 4 == 3:
            pixels[30:90, 55 : 58 + at] = 250
        found.append(Image.fromarray(pixels.astype(np.uint8)))
    return found


def structured() -> np.ndarray:
    return cloud("relu", 5000, np.random.default_rng(3), dimension=256)


CLOUDS = {
    "structured": lambda: structured().astype(np.float32),
    "unstructured": lambda: cloud("gauss", 4000, np.random.default_rng(3), dimension=64).astype(
        np.float32
    ),
    "far from the origin": lambda: cloud(
        "far", 4000, np.random.default_rng(3), dimension=32
    ).astype(np.float32),
    "half precision": lambda: structured().astype(np.float16),
}


@pytest.mark.parametrize("precision", list(FEATURES))
def test_features(card: torch.device, weights: Path, precision: str) -> None:
    pictures = images(5)
    found = backbone(weights, card, precision).extract(pictures)
    assert found.dtype == np.float32
    for on_cpu in {"float32", precision} - {"float16"}:  # which not every CPU has
        expected = on_host(weights, on_cpu).extract(pictures)
        assert np.abs(found - expected).max() <= FEATURES[precision] * np.abs(expected).max()


def test_features_of_files_in_order(card: torch.device, weights: Path, tmp_path: Path) -> None:
    for at, picture in enumerate(images(21)):
        picture.save(tmp_path / f"{at:02d}.png")
    files = sorted(tmp_path.glob("*.png"))
    found, kept, _ = Extractor(backbone(weights, card), batch_size=4).all(files)
    found = found.dense()
    expected, _, _ = Extractor(on_host(weights), batch_size=4).all(files)
    expected = expected.dense()
    assert kept == list(range(21))
    assert np.abs(found - expected).max() <= FEATURES["float32"] * np.abs(expected).max()


@pytest.mark.parametrize("kind", list(CLOUDS))
def test_picks_and_radius(card: torch.device, kind: str) -> None:
    x = CLOUDS[kind]()
    expected = greedy_k_center(x, 120, seed=2)
    found = on(card, greedy_k_center, x, 120, seed=2)
    assert found.indices.tolist() == expected.indices.tolist()
    np.testing.assert_allclose(found.radii, expected.radii, rtol=DISTANCE)
    some = on(card, random_coreset, x, 50, seed=2)
    assert some.radius == pytest.approx(random_coreset(x, 50, seed=2).radius, rel=DISTANCE)


def test_ties_of_picks(card: torch.device) -> None:
    x = np.random.default_rng(5).integers(-3, 4, size=(3000, 3)).astype(np.float32)
    found = on(card, greedy_k_center, x, 200, seed=1)
    distance = np.square(x - x[found.indices[0]]).sum(1)
    for pick in found.indices[1:]:
        assert pick == distance.argmax() and distance[pick] > 0
        distance = np.minimum(distance, np.square(x - x[pick]).sum(1))
    assert found.radius == distance.max() ** 0.5


def test_rows_that_stay_with_the_host(card: torch.device, monkeypatch) -> None:
    x = CLOUDS["structured"]()
    expected = greedy_k_center(x, 60)
    real = rounds.plan

    def poor(*args):
        how = real(*args)
        return rounds.Plan(how.needed, False, 300, 1000)

    monkeypatch.setattr(rounds, "plan", poor)
    monkeypatch.setattr(on_device, "SHARE", 0.0)
    found = on(card, greedy_k_center, x, 60)
    assert found.indices.tolist() == expected.indices.tolist()
    near = on(card, NearestNeighbours, x).search(x[:50] + np.float32(0.01))
    np.testing.assert_allclose(
        near[0], NearestNeighbours(x).search(x[:50] + np.float32(0.01))[0], rtol=DISTANCE
    )


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("kind", list(CLOUDS))
def test_distances(card: torch.device, kind: str, k: int) -> None:
    x = CLOUDS[kind]().astype(np.float32)
    bank, queries = x[500:], x[:500].copy()
    queries[:9] = bank[20:29]
    expected, where = NearestNeighbours(bank).search(queries, k)
    found, rows = on(card, NearestNeighbours, bank).search(queries, k)
    if which.serving(card) == "FAISS":
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())
        return
    np.testing.assert_allclose(found, expected, rtol=DISTANCE)
    assert (rows == where).mean() > 0.999
    assert (found[:9, 0] == 0).all() and (rows[:9, 0] == np.arange(20, 29)).all()


@pytest.mark.parametrize("neighbours", [1, 3])
def test_scores_and_verdicts(card: torch.device, weights: Path, neighbours: int) -> None:
    """Verdicts may differ only where a score lies within its tolerance of the threshold."""
    host, there = on_host(weights), backbone(weights, card)
    good, tested = images(8, seed=1), images(40, seed=2)
    bank = host.extract(good).reshape(-1, host.dimension)
    bank = bank[greedy_k_center(bank, 60).indices]
    how = {"neighbours": neighbours, "reweight": 4}
    expected = Scorer(bank, **how)(host.extract(tested))
    found = on(card, Scorer, bank, **how)(there.extract(tested))
    np.testing.assert_allclose(found.images, expected.images, rtol=SCORE)
    threshold = float(np.sort(expected.images)[30])
    sure = np.abs(expected.images / threshold - 1) > SCORE
    assert sure.sum() >= 35
    assert ((found.images > threshold) == (expected.images > threshold))[sure].all()


def test_a_bank_of_another_precision_is_refused_by_name(card: torch.device, weights: Path) -> None:
    pytest.importorskip("scipy")  # which judging needs
    from fedpatchcore.detection.judging import Judge

    half, whole = backbone(weights, card, "bfloat16"), on_host(weights)
    bank = type("Bank", (), {"fingerprint": whole.fingerprint})()
    with pytest.raises(FingerprintError, match="precision: bfloat16 ≠ float32"):
        Judge(half, bank)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_GPU)
def test_a_batch_that_the_gpu_has_no_room_for(weights: Path, caplog) -> None:
    pictures = images(64)
    there = backbone(weights, torch.device("cuda"))
    expected = there.extract(pictures)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    room = torch.cuda.memory_reserved() + 48 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        found = there.extract(pictures)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "going on with" in caplog.text
    assert np.abs(found - expected).max() <= FEATURES["float32"] * np.abs(expected).max()


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="torch sees fewer than two GPUs")
def test_all_gpus_and_the_second_one(weights: Path) -> None:
    pictures = images(12)
    expected = on_host(weights).extract(pictures)
    for name in ("all", "cuda:1"):
        made = build_backbone(
            DetectorSettings(
                backbone="squeezenet1_1",
                weights=str(weights),
                geometry="full",
                image_size=96,
                device=name,
            )
        )
        batches = [[made.prepare(one)] for one in pictures]
        found = np.concatenate(list(made.flow(batches)))
        assert np.abs(found - expected).max() <= FEATURES["float32"] * np.abs(expected).max()
    x = CLOUDS["structured"]()
    second = greedy_k_center(x, 60, device="cuda:1")
    assert second.indices.tolist() == greedy_k_center(x, 60).indices.tolist()
