"""Settings by room: each has one home, lists cannot drift from them, odd values are refused."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.cli.settings import ALL
from fedpatchcore.config import SHEETS, NodeConfig, RunConfig
from fedpatchcore.errors import ConfigError, RunError
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.settings import Settings, describe
from fedpatchcore.worker.settings import WorkerConfig
from tests.support.lists import lists
from tests.support.places import ROOT

BOTH = [RunConfig, NodeConfig, WorkerConfig]
NUMBERS = [
    (kind, key)
    for kind in BOTH
    for key, value in kind().table().items()
    if type(value) in (int, float)
]
BROKEN = "\n\r\0\t\x0b\x1b\x85\u2028\u2029"
TEXTS = [(kind, key) for kind in BOTH for key, value in kind().table().items() if value == ""]


def test_each_setting_stands_on_one_sheet_and_is_told_in_one_line() -> None:
    keys = [one.key for sheet in SHEETS for one in describe(sheet)]
    assert sorted(keys) == sorted(set(keys)) == sorted(RunConfig().table())
    for sheet in ALL:
        assert sheet.title
        for one in describe(sheet):
            assert one.help and "\n" not in one.help and one.help == one.help.strip(), one.key


def test_sheets_stand_in_their_rooms() -> None:
    for sheet in SHEETS:
        assert sheet.__module__.split(".")[-1] == "settings", sheet
    assert len({sheet.__module__ for sheet in SHEETS}) >= 12


@pytest.mark.parametrize("file", lists(), ids=lambda file: file.name)
def test_pages_list_exactly_the_settings_there_are(file: Path) -> None:
    assert file.read_text() == lists()[file], "make settings writes the lists anew"


def test_pyproject_states_exactly_the_defaults() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert tomllib.loads(text)["tool"]["flwr"]["app"]["config"] == RunConfig().table()


@pytest.mark.parametrize(("kind", "key"), NUMBERS, ids=lambda p: getattr(p, "__name__", p))
def test_what_is_no_number_is_refused_everywhere(kind: type[Settings], key: str) -> None:
    for value in (math.inf, -math.inf, math.nan, "inf", "nan", "1e999"):
        with pytest.raises(ConfigError, match=key) as caught:
            kind.parse({key: value}, where="settings")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "key"), TEXTS, ids=lambda p: getattr(p, "__name__", p))
@given(
    broken=st.sampled_from("\n\r\0\t\x0b\x1b\x85\u2028\u2029"), around=st.text("ab /", max_size=3)
)
def test_a_text_is_one_line_of_plain_letters(
    kind: type[Settings], key: str, broken: str, around: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.parse({key: around + broken + around}, where="settings")
    assert len(str(caught.value).splitlines()) == 1
    assert key in str(caught.value)


@given(key=st.text(min_size=1), value=st.one_of(st.text(), st.none(), st.binary(), st.integers()))
def test_whatever_key_comes_is_told_in_one_line(key: str, value: object) -> None:
    for kind in BOTH:
        try:
            kind.parse({key: value}, where="settings")
        except ConfigError as error:
            assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    [
        "/tmp/x",
        "../x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        " x",
        "x ",
        "é" * 300,
    ],
)
def test_a_run_has_a_plain_name(name: str) -> None:
    with pytest.raises(ConfigError, match="run-name") as caught:
        RunConfig.parse({"run-name": name}, where="run-config")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["", "pilot", "2026-11-28_line.3", "äöü", "run 7"])
def test_ordinary_names_of_runs_are_taken(name: str) -> None:
    assert RunConfig.parse({"run-name": name}, where="run-config").run_name == name


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "-c", "back\nbone=x"),
        ("simulate", "-c", "run-name=a\nb"),
        ("simulate", "-c", "run-name=../elsewhere"),
        ("simulate", "-c", "dp-epsilon=inf"),
        ("simulate", "-c", "holdout=nan"),
        ("settings", "no\nsuch"),
        ("doctor", "site", "--node-config", 'site="a\nb"'),
    ],
    ids=repr,
)
def test_the_command_line_refuses_them_in_one_line(cli, words: tuple[str, ...]) -> None:
    code, _, err = cli(*words)
    assert code == 2
    assert len(err.strip().splitlines()) == 1 and err.startswith("error: ")


def test_a_run_folder_stays_below_out_dir_whoever_asks(tmp_path: Path) -> None:
    for name in ("../up", "/abs", "a/b", "..", ".", "", "nul\0"):
        with pytest.raises(RunError):
            RunFolder.create(tmp_path / "runs", name, {})
    assert not list(tmp_path.iterdir())
