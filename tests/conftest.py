"""Small, fast stand-ins for what is large and slow in the field."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from fedpatchcore.config import RunConfig
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.site.setup import use_threads
from tests.support.names import NAMES
from tests.support.networks import random_squeezenet
from tests.support.places import SHARED
from tests.support.products import write_product
from tests.support.wheels import Installed, build_wheel, digest, environment

# A slow machine is no failure: examples have no deadline in milliseconds. CI tries the same ones
# every time, everybody else new ones.
hypothesis_settings.register_profile("patient", deadline=None, derandomize="CI" in os.environ)
hypothesis_settings.load_profile("patient")


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is gone when the test ends and nothing is patched any more."""
    made = tmp_path_factory.mktemp("home")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(autouse=True)
def private_home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("FEDPATCHCORE_HOME", str(own_home))
    monkeypatch.delenv("FEDPATCHCORE_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(own_home / "torch"))
    return own_home


@pytest.fixture(scope="module")
def one_thread() -> None:
    """Compute with a single thread, so that sums come out the same every time."""
    use_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and weights beside the project; tests that need them skip without."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real data not found at {SHARED} (set FEDPATCHCORE_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded random SqueezeNet weights: enough to test plumbing, useless for detection."""
    return random_squeezenet(tmp_path_factory.mktemp("weights") / "squeezenet1_1.pth")


@pytest.fixture(scope="session")
def settings(weights_file: Path) -> Callable[..., RunConfig]:
    """A RunConfig for a small, quick backbone; keywords override."""

    def make(**overrides) -> RunConfig:
        base = {
            "backbone": "squeezenet1_1",
            "layers": "features.4",
            "geometry": "full",
            "image_size": 64,
            "weights": str(weights_file),
            "coreset_size": 30,
            "global_bank_size": 60,
            "device": "cpu",
            "threads": 1,
            "heatmaps": 0,
        }
        return RunConfig(**{**base, **overrides})

    return make


@pytest.fixture(scope="session")
def backbone(settings: Callable[..., RunConfig]) -> Backbone:
    """The quick backbone, built once."""
    return build_backbone(settings())


@pytest.fixture
def sites_folder(tmp_path: Path) -> Path:
    """Three sites making ``plate``, the third alone making ``ring`` as well."""
    root = tmp_path / "sites"
    for at, name in enumerate(NAMES):
        write_product(root / name / "plate", seed=1000 * at)
    write_product(root / "west" / "ring", seed=9000)
    return root


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """The command line in this process: words → (exit code, output, errors)."""
    from fedpatchcore.cli import main

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedpatchcore", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return call


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree's wheel."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def user(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A fresh environment that has the wheel, and somebody with an empty folder and two sites.

    The environment must stay as it is: in the field only the administrator may write to it.
    """
    place = tmp_path_factory.mktemp("host")
    found = Installed(environment(wheel, place / "environment"), place / "home")
    (found.home / "empty").mkdir(parents=True)
    for site in NAMES[:2]:
        write_product(found.home / "empty" / "sites" / site / "plate", train=6)
    before = digest(place / "environment")
    yield found
    assert digest(place / "environment") == before
