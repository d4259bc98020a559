"""What one command has extracted the next one finds: fit, tune and simulations share a cache."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from fedpatchcore.features.runner import Runner
from tests.support.opened import count_opens
from tests.support.products import write_product


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "images" / "plate", train=12)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, ...]]:
    """Pictures that went through the network, by shape."""
    seen: Counter[tuple[int, ...]] = Counter()
    real = Runner.submit

    def counted(runner: Runner, images):
        seen.update(one.shape for one in images)
        return real(runner, images)

    monkeypatch.setattr(Runner, "submit", counted)
    return seen


@pytest.mark.parametrize("geometry", ["full", "tiles"])
def test_a_second_fit_decodes_and_extracts_nothing(
    cli, quick, product: Path, network, tmp_path: Path, monkeypatch, geometry: str
) -> None:
    quick += ["-c", f"geometry={geometry}", "-c", "tile-overlap=32"]
    opened = count_opens(monkeypatch)
    code, out, _ = cli("fit", product, "-o", tmp_path / "a.safetensors", *quick)
    assert code == 0 and "s an image, 12 images: " in out and sum(network.values()) >= 12
    opened.clear(), network.clear()
    code, again, _ = cli("fit", product, "-o", tmp_path / "b.safetensors", *quick)
    assert code == 0 and not network and "s an image" not in again
    assert set(opened.values()) <= {1}  # for the hash of its content
    assert not [path for path in opened if "test" in path.parts]
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    plain = cli("fit", product, "-o", tmp_path / "c.safetensors", *quick, "-c", "cache-gb=0")
    assert plain[0] == 0 and sum(network.values()) >= 12
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()


def test_a_tune_takes_what_a_fit_has_extracted_and_a_second_one_only_takes_times(
    cli, quick, product: Path, network, tmp_path: Path, monkeypatch
) -> None:
    listing = tmp_path / "candidates.toml"
    listing.write_text("[three]\nneighbours = 3\n")
    assert cli("fit", product, "-o", tmp_path / "a.safetensors", *quick)[0] == 0
    how = ("--candidates", listing, "--images", 12, "--minutes", 5, *quick)
    network.clear()
    assert cli("tune", product, "-o", tmp_path / "one", *how)[0] == 0
    told = json.loads((tmp_path / "one" / "state.json").read_text())["trials"]
    defects = len(told[0]["trial"]["products"]["plate"]["planted"])
    timed = 4 * len(told)
    assert len(told) > 2 and sum(network.values()) == defects + timed  # good ones: of the fit
    network.clear()
    opened = count_opens(monkeypatch)
    assert cli("tune", product, "-o", tmp_path / "one", *how)[0] == 0
    assert not network and set(opened.values()) <= {1}
    assert cli("tune", product, "-o", tmp_path / "two", *how)[0] == 0
    assert sum(network.values()) == timed


def test_a_first_step_over_its_time_is_told(cli, quick, product: Path, tmp_path: Path) -> None:
    listing = tmp_path / "candidates.toml"
    listing.write_text("[three]\nneighbours = 3\n")
    how = ("--candidates", listing, "--images", 12, "--minutes", 0.001, *quick)
    code, _, err = cli("tune", product, "-o", tmp_path / "one", *how)
    assert code == 0
    assert "0.001 minutes are up; the first step goes on to its end" in " ".join(err.split())
    assert err.count("minutes are up") == 1
