"""A site holds out whole groups, however they are named, and searches for twins once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data import likeness
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.site import faults
from fedpatchcore.site.setup import open_site
from tests.support.parts import altered, part


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve parts; of each of the first three a second shot."""
    folder = tmp_path / "data" / "disc" / "train" / "good"
    folder.mkdir(parents=True)
    for seed in range(12):
        part(seed, size=96).save(folder / f"p{seed:02d}_a.png")
        if seed < 3:
            altered(part(seed, size=96), "brighter").save(folder / f"p{seed:02d}_b.png")
    return tmp_path / "data"


def split(config: RunConfig, node: NodeConfig) -> tuple[set[str], list[str]]:
    """Names of what is held out, and what the site said."""
    lines: list[str] = []
    site = open_site(config, node, say=lines.append)
    site.facts()
    assert lines == []  # the roll call opens no image
    return {path.name for path in site.training_images("disc").held_out}, lines


def node(data: Path, **told) -> NodeConfig:
    return NodeConfig(site="a", data=str(data), cache=str(data.parent / "cache"), **told)


def together(held: set[str]) -> bool:
    return all((f"p{n:02d}_a.png" in held) == (f"p{n:02d}_b.png" in held) for n in range(3))


def test_twins_are_held_out_together_at_a_real_site(settings, data: Path) -> None:
    apart = 0
    for seed in range(8):
        held, lines = split(settings(calibration="holdout", holdout=0.3, seed=seed), node(data))
        assert together(held)
        assert lines == ["disc: 3 groups of near-identical images (6 of 15 images)"]
        held, lines = split(
            settings(calibration="holdout", holdout=0.3, seed=seed, group_by="none"), node(data)
        )
        assert lines == []
        apart += not together(held)
    assert apart  # else this test could not fail


def test_images_are_compared_once(settings, data: Path, monkeypatch) -> None:
    first = split(settings(calibration="holdout", holdout=0.3), node(data))
    calls = []
    monkeypatch.setattr(likeness, "thumbnails", lambda *_: calls.append(1) or 1 / 0)
    assert split(settings(calibration="holdout", holdout=0.3), node(data)) == first
    part(99, size=96).save(data / "disc/train/good/new.png")
    with pytest.raises(ZeroDivisionError):
        split(settings(calibration="holdout", holdout=0.3), node(data))


def test_the_nodes_own_word_goes_before_the_runs(settings, data: Path) -> None:
    config = settings(calibration="holdout", holdout=0.3, group_by="none")
    held, lines = split(config, node(data, group_by=r"^(p\d+)"))
    assert together(held) and "12 groups by file name pattern" in lines[0]
    with pytest.raises(DataError, match="no group by file name pattern 'lot'"):
        split(config, node(data, group_by="lot"))
    with pytest.raises(ConfigError, match="no regular expression"):
        NodeConfig.parse({"group-by": "("}, where="node-config")
    with pytest.raises(ConfigError, match="no regular expression"):
        RunConfig.parse({"group-by": "("}, where="settings")


def test_a_nodes_table_names_groups(settings, data: Path) -> None:
    table = data.parent / "groups.csv"
    files = [f"disc/train/good/p{n:02d}_{ab}.png" for n in range(3) for ab in "ab"]
    table.write_text("file,group\n" + "".join(f"{file},lot\n" for file in files))
    for seed in range(4):
        held, lines = split(settings(holdout=0.4, seed=seed), node(data, groups=str(table)))
        lot = {Path(file).name for file in files}
        assert lot <= held or not lot & held
        assert lines == [
            "disc: 1 group that the table names (largest 6 images), 9 of 15 images by themselves"
        ]
    with pytest.raises(DataError, match="no.csv: cannot be read"):
        split(settings(), node(data, groups=str(data / "no.csv")))


def test_virtual_sites_hold_out_groups_too(settings, data: Path) -> None:
    config = settings(data=str(data), partition="iid", holdout=0.3, group_by=r"^(p\d+)")
    virtual = NodeConfig(partition_id=0, num_partitions=1)
    held, lines = split(config, virtual)
    assert together(held) and "12 groups" in lines[0]


def test_a_private_run_compares_no_images(settings, data: Path, tmp_path: Path) -> None:
    config = settings(dp="cells", holdout=0.3, min_sites=1)
    own = node(data, ledger=str(tmp_path / "ledger"))
    held, lines = split(config, own)
    assert held and lines == []


def test_faults_of_the_images_are_said_as_counts_and_looked_for_once(
    settings, data: Path, monkeypatch
) -> None:
    (data / "disc/test/good").mkdir(parents=True)
    shutil.copy(data / "disc/train/good/p05_a.png", data / "disc/test/good/secret.png")
    (data / "disc/train/good/zero.png").touch()

    def said(**told) -> list[str]:
        lines: list[str] = []
        config = settings(**told)
        site = open_site(config, node(data), say=lines.append)
        site.facts()
        assert lines == []
        site.train()
        return [line for line in lines if "data check" in line]

    lines = said()
    assert [line.split(" (")[0] for line in lines] == [
        "disc: 1 image cannot be used, the first: file is empty",
        "disc: 1 image of the good test also among the training images",
    ]
    assert not any("secret" in line or "p05" in line for line in lines)
    monkeypatch.setattr(faults, "gravest", None)
    assert said() == lines
    (data / "disc/train/good/zero.png").unlink()
    with pytest.raises(TypeError):
        said()
