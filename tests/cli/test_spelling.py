"""What a message tells to type is typed here, in the very command that told it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import torch
import typer

from fedpatchcore.cli.app import build
from fedpatchcore.cli.spelling import Command, spelling
from fedpatchcore.spelling import after_c, in_a_table, mended, spelled, typed
from tests.support.products import write_product

BACKBONE = ("-c", "backbone=squeezenet1_1", "-c", "geometry=full", "-c", "image-size=64")


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    return write_product(tmp_path / "images" / "plate", train=8)


@pytest.fixture
def made(cli, plate: Path, weights_file: Path, tmp_path: Path) -> Path:
    bank = tmp_path / "made.safetensors"
    words = (*BACKBONE, "-c", f"weights={weights_file}", "-c", "coreset-size=20")
    assert cli("fit", plate, "-o", bank, *words)[0] == 0
    return bank


def helps(told: str) -> list[str]:
    """What a message says that helps."""
    (line,) = [line for line in told.splitlines() if "what helps: " in line]
    return line.split("what helps: ")[1].split(", or ")


def without_weights(name: str, bank: Path, plate: Path) -> tuple[object, ...]:
    return {
        "fit": ("fit", plate, "-o", bank.with_name("new.safetensors"), *BACKBONE),
        "predict": ("predict", bank, plate / "test" / "good"),
        "evaluate": ("evaluate", bank, plate),
        "weights check": ("weights", "check", *BACKBONE),
        "doctor site": ("doctor", "site", "--node-config", f"data='{plate.parent}'", *BACKBONE),
    }[name]


@pytest.mark.parametrize(
    ("name", "count"),
    [("fit", 5), ("predict", 2), ("evaluate", 2), ("weights check", 5), ("doctor site", 5)],
)
def test_each_way_to_weights_that_is_told_can_be_typed(
    cli, made: Path, plate: Path, weights_file: Path, private_home: Path, name: str, count: int
) -> None:
    words = without_weights(name, made, plate)
    code, out, err = cli(*words)
    assert code in (1, 2) and "no weights for 'squeezenet1_1'" in out + err
    ways = helps(out + err)
    assert len(ways) == count
    for way in ways:
        if "download" in way:
            assert way == "-c download-weights=true"  # no network here
            continue
        more = way.replace("FILE", str(weights_file)).split()
        if more[0] == "fedpatchcore":
            assert cli(*more[1:])[0] == 0
            more = []
        _, out, err = cli(*words, *more)
        assert "no weights" not in out + err and "error" not in err
        for file in (private_home / "weights").glob("*"):
            file.unlink()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize(
    ("words", "way"),
    [
        (("predict", "BANK", "IMAGES", "--device", "cuda"), "--device auto"),
        (("fit", "IMAGES", "-o", "BANK", "-c", "device=cuda", *BACKBONE), "-c device=auto"),
    ],
)
def test_a_device_that_is_not_there(
    cli, made: Path, plate: Path, weights_file: Path, words: tuple[str, ...], way: str
) -> None:
    places = {"BANK": made, "IMAGES": plate / "train" / "good"}
    told = [places.get(word, word) for word in words]
    told += (
        ["--weights", weights_file] if words[0] == "predict" else ["-c", f"weights={weights_file}"]
    )
    code, _, err = cli(*told)
    assert code == 2 and helps(err) == [way]
    assert "error" not in cli(*told, *way.split())[2]


def test_every_command_spells_as_itself() -> None:
    def commands(group: click.Group, path: str = ""):
        for name, one in group.commands.items():
            if isinstance(one, click.Group):
                yield from commands(one, f"{path}{name} ")
            else:
                yield f"{path}{name}", one

    found = dict(commands(typer.main.get_command(build())))
    assert all(isinstance(one, Command) for one in found.values())
    data = {name: spelling(one)("data", "F", True) for name, one in found.items()}
    assert data["node"] == "--data F"
    assert data["doctor site"] == "--node-config \"data='F'\""
    assert data["predict"] == ""
    seed = {name: spelling(one)("seed", "1", False) for name, one in found.items()}
    assert seed["run"] == seed["simulate"] == seed["rehearse"] == seed["fit"] == "-c seed=1"
    assert seed["predict"] == ""


def test_who_runs_the_code_says_how_settings_are_typed() -> None:
    assert typed("dp", "off") == "dp='off'"
    with spelled(after_c):
        assert typed("dp", "off") == "-c dp=off"
        with spelled(lambda *_: ""):
            assert mended("wrong", typed("dp", "off")) == "wrong"
        assert (
            mended("wrong", typed("dp", "off"), "wait") == "wrong; what helps: -c dp=off, or wait"
        )
    assert typed("a", "true") == "a=true" and in_a_table("a", "1.5", False) == "a=1.5"
