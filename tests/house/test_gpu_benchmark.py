"""The one script for GPU hosts: runs without one, and with nothing but what such a host has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

ABSENT = (
    *("flwr", "faiss", "scipy", "sklearn", "typer", "rich", "matplotlib", "ray", "grpc"),
    *("prometheus_client", "opentelemetry", "cryptography", "dp_accounting", "zstandard"),
    *("hypothesis", "tifffile", "client_app", "server_app"),
)

BARE = f"""
import runpy, sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *more):
        return None if name.split(".")[0] in {ABSENT} else self.finder.find_spec(name, *more)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def bare(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Python code where most packages are absent."""
    command = [sys.executable, "-W", "ignore", "-c", BARE + code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, cwd="/")


def test_the_ways_of_a_gpu_need_little_more_than_torch() -> None:
    done = bare(
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import numpy as np\n"
        "from fedpatchcore.features.backbone import build_backbone\n"
        "from fedpatchcore.detection.scoring import Scorer\n"
        "from fedpatchcore.coreset.greedy import greedy_k_center\n"
        "from fedpatchcore.detection.search import NearestNeighbours\n"
        "x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)\n"
        "bank = x[greedy_k_center(x, 20).indices]\n"
        "print(NearestNeighbours(bank).search(x)[0].max())\n"
        "from fedpatchcore.coreset.clusters import kmeans\n"
        "try:\n"
        "    kmeans(x, 2, iterations=1, seed=0, points_a_centroid=9)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    assert not done.returncode, done.stderr
    radius, refused = done.stdout.strip().splitlines()
    assert 0 < float(radius) < 10
    assert refused.startswith("ConfigError k-means needs FAISS, which is not installed: pip")


@pytest.mark.long
@pytest.mark.slow
def test_a_dry_run_measures_everything(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    words = ["gpu.py", "--dry-run", "--out", str(out)]
    script = str(ROOT / "benchmarks" / "gpu.py")
    done = bare(f"sys.argv = {words}\nrunpy.run_path({script!r}, run_name='__main__')\n")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["failed"] == {} and found["left out"] == []
    assert "faiss is not installed" in done.stdout
    large = found["k-center 4,000"]
    assert large["plain picks that agree"] == 10 and large["looks at all rows"] < 10
    assert found["k-center 2,000"]["radius"] == pytest.approx(
        found["k-center 2,000"]["plain radius"]
    )
    assert found["k-center 1,000 and the CPU"]["picks that agree"] == 10
    for batch in (1, 32):
        row = found[f"search 3,000, batch {batch}"]
        assert row["ms"] > 0 and row["cdist: rows that agree"] > 0.99
    row = found["resnet18, bfloat16, batch 2"]
    assert row["from files images/s"] > 0 and row["GFLOP an image"] > 0.1
    assert found["one image, resnet18, bfloat16"]["ms"] > 0
    assert found["tests"]["collected"]
    assert any("test_scores_and_verdicts[cuda-1]" in line for line in found["tests"]["said"])
    assert len(found["goals"]) == 6 and all(ok is None for ok, _ in found["goals"].values())


def test_without_a_gpu_it_says_what_to_do(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    script = str(ROOT / "benchmarks" / "gpu.py")
    words = ["gpu.py", "--out", str(tmp_path / "gpu.json")]
    done = bare(f"sys.argv = {words}\nrunpy.run_path({script!r}, run_name='__main__')\n")
    assert done.returncode == 2
    assert "torch sees no GPU: run this on a host with one, or with --dry-run" in done.stdout
    assert not (tmp_path / "gpu.json").exists()
