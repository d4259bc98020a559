"""CPU and CUDA agree, where there is a GPU."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.features.backbone import build_backbone
from tests.support.products import picture

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def test_features_agree(settings) -> None:
    images = [picture(s) for s in range(3)]
    on_cpu = build_backbone(settings(device="cpu")).extract(images)
    on_gpu = build_backbone(settings(device="cuda")).extract(images)
    np.testing.assert_allclose(on_gpu, on_cpu, atol=5e-3)  # TF32 convolutions


def test_picks_agree() -> None:
    x = np.random.default_rng(0).normal(size=(4000, 32)).astype(np.float32)
    on_cpu, on_gpu = (greedy_k_center(x, 100, device=d) for d in ("cpu", "cuda"))
    assert on_gpu.indices[:50].tolist() == on_cpu.indices[:50].tolist()
    assert on_gpu.radius == pytest.approx(on_cpu.radius, rel=1e-3)


@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS sees no GPU")
def test_search_agrees() -> None:
    rng = np.random.default_rng(0)
    bank, queries = rng.normal(size=(2, 500, 16)).astype(np.float32)
    on_cpu, on_gpu = (NearestNeighbours(bank, gpu=g).search(queries, 3) for g in (False, True))
    np.testing.assert_allclose(on_gpu[0], on_cpu[0], rtol=1e-3)
