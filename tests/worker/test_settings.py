"""A worker's file: every key, what it refuses, and that what is written reads the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fedpatchcore.config import NodeConfig, SiteOwn
from fedpatchcore.errors import ConfigError
from fedpatchcore.privacy.settings import SitePrivacy
from fedpatchcore.settings import describe, kebab
from fedpatchcore.site.settings import Eligibility
from fedpatchcore.worker.settings import (
    PLACES,
    WorkerConfig,
    read_worker_config,
    worker_file,
)
from tests.support.places import ROOT

KEYS = [kebab(name) for name in WorkerConfig.model_fields]
LEAST = {"site": "plant-a", "data": "/data/images"}
OTHER = {  # each key with a value that is not its default
    **LEAST,
    "layout": "mvtec",
    "take-part": "plate, ring",
    "exclude": "/data/out.csv",
    "weights": "/data/net.pth",
    "cache": "/var/cache/fpc",
    "out": "/var/fpc/pictures",
    "device": "cpu",
    "engine": "openvino",
    "group-by": r"^(\d+)_.*\"x\"$",
    "groups": "/data/groups.csv",
    "memory-budget": 2.5,
    "ledger": "/var/fpc/ledger",
    "dp-required": True,
    "dp-trust-server": True,
    "dp-budget-epsilon": 12.5,
    "dp-alone-epsilon": 50.0,
    "roster": "/etc/fpc/roster.json",
    "sums-key": "/etc/fpc/sums.key",
    "masked": "figures,updates",
    "colluding-sites": 2,
    "hours": "22:00-06:00, 12:00-13:00",
    "weekdays": "mon-fri",
    "time-zone": "Europe/Berlin",
    "most-load": 0.5,
    "least-gpu-gb": 8.0,
    "mains-only": True,
    "metered": "wwan*",
    "socket": "/run/fpc/w.sock",
    "users": "root, 1234",
    "queue": 0,
    "largest-message": 0.25,
    "longest-request": 60.0,
    "warm-gb": 0.0,
    "idle-seconds": 1e-07,
    "requests-an-hour": 7,
    "evaluate": "none",
    "most-rows": 100,
    "most-cache-gb": 0.5,
    "most-heatmaps": 0,
    "most-planted": 40,
    "most-tune-minutes": 2.5,
    "most-batch-gb": 0.125,
    "mechanisms": "cells, moments",
    "rehearsals": True,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "worker.toml"


def test_every_key_is_written_with_its_help_and_read_again(file: Path) -> None:
    assert set(OTHER) == set(KEYS)
    file.write_text(worker_file(OTHER, file))
    assert read_worker_config(file) == WorkerConfig.parse(OTHER, where="test")
    defaults = WorkerConfig()
    for key, value in read_worker_config(file).table().items():
        assert value != defaults.table()[key], key
    text = worker_file(LEAST, file)
    for sheet in (SiteOwn, SitePrivacy, Eligibility, WorkerConfig):
        for one in describe(sheet):
            assert f"# {one.help}" in text
            assert f"{one.key} = " in text
    file.write_text(text)
    assert read_worker_config(file) == WorkerConfig.parse(LEAST, where="test")


def test_the_defaults_that_are_shown_are_the_defaults(file: Path) -> None:
    """Every comment of a key, made a line, changes nothing."""
    lines = worker_file(LEAST, file).splitlines()
    shown = [
        line[2:] if line.startswith("# ") and line[2:].split(" = ")[0] in KEYS else line
        for line in lines
    ]
    assert shown != lines
    file.write_text("\n".join(shown))
    assert set(tomllib.loads(file.read_text())) == set(KEYS)
    assert read_worker_config(file) == WorkerConfig.parse(LEAST, where="test")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1),
    number=st.floats(0, 1e300, exclude_min=True, allow_infinity=False),
)
def test_any_text_and_number_that_may_stand_there_comes_back(file: Path, text, number) -> None:
    text = f"/{text}"
    given_ = {**LEAST, "data": text, "ledger": text, "longest-request": number}
    file.write_text(worker_file(given_, file), encoding="utf-8")
    found = read_worker_config(file)
    assert (found.data, found.ledger, found.longest_request) == (text, text, number)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('site = "a"\ndata = "/d"\nqueu = 3', r"unknown key 'queu' \(did you mean 'queue'\?\)"),
        ('site = "a"\ndata = "/d"\ndp_require = true', "unknown key 'dp_require'"),
        ('site = "a"\ndata = "/d"\nworker = "/x"', "unknown key 'worker'"),
        ('site = "a"\ndata = "/d"\npartition-id = 0', "unknown key 'partition-id'"),
        ('[site]\nname = "a"', "site: "),
        ('site = "a"\ndata = "/d"\nqueue = -1', "queue: .*greater than or equal to 0, got -1"),
        ('site = "a"\ndata = "/d"\nwarm-gb = nan', "warm-gb: "),
        ('site = "a"\ndata = "/d"\nidle-seconds = 0', "idle-seconds: .*greater than 0"),
        ('site = "a"\ndata = "/d"\ndp-required = "perhaps"', "dp-required: "),
        ('site = "a"\ndata = "/d"\nevaluate = "some"', "evaluate: must be one of all, none"),
        ('site = "a"\ndata = "/d"\nlayout = "mvtek"', "layout: must be one of"),
        ('site = "a"\ndata = "/d"\nmechanisms = "cels"', "unknown mechanism 'cels'.*'cells'"),
        ('site = "a"\ndata = "/d"\ngroup-by = "("', "group-by"),
        ('site = "a"\ndata = "/d\\nx"', "data: a value is one line"),
        ('site = "a"', 'it names no data: write data = "..." into it'),
        ('data = "/d"', 'it names no site: write site = "..." into it'),
        ('site = "a"\nsite = "b"', "is no TOML: Cannot overwrite"),
        ("site: a\ndata: /d\n", "is no TOML"),
        ("", "it names no site"),
    ],
)
def test_what_is_no_workers_file_names_the_file_and_the_mend(file: Path, text, words) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as told:
        read_worker_config(file)
    assert str(told.value).startswith(str(file))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("place", ["here", "./here", "../ledger", "~no-such-user/ledger"])
def test_no_place_depends_on_where_the_worker_is_started(file: Path, place: str) -> None:
    """From another folder it would begin with an empty ledger."""
    assert {key for key, value in OTHER.items() if str(value).startswith("/")} == {
        *PLACES,
        "weights",  # may be a name
    }
    pair = {key: f"/etc/{key}" for key in ("roster", "sums-key")}  # which go together
    for key in PLACES:
        more = pair if key in pair else {}
        file.write_text(worker_file({**LEAST, **more, key: place}, file))
        with pytest.raises(ConfigError, match=f"{key} = '{place}' depends on where the worker is"):
            read_worker_config(file)
    file.write_text(worker_file({**LEAST, "ledger": "~/ledger"}, file))
    assert read_worker_config(file).ledger == "~/ledger"


def test_a_file_that_is_not_there_or_unreadable(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist: 'fedpatchcore worker init .* writes"):
        read_worker_config(file)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_worker_config(tmp_path)
    file.write_bytes(b'site = "\xff"')
    with pytest.raises(ConfigError, match="is no TOML"):
        read_worker_config(file)
    with pytest.raises(ConfigError, match="there is no setting colour"):
        worker_file({**LEAST, "colour": "red"}, file)


def test_users_are_names_or_numbers() -> None:
    def ids(users: str) -> set[int]:
        return WorkerConfig.parse({**LEAST, "users": users}, where="test").user_ids()

    assert ids("") == set()
    assert ids("root, 1234 ,,") == {0, 1234}
    for users in ("nobody-of-this-name", "-5", "1.5", "²"):
        with pytest.raises(ConfigError, match=f"there is no user '{users}' on this system: make"):
            ids(users)


def test_a_socket_has_a_place_that_the_system_can_take(private_home: Path, tmp_path: Path) -> None:
    told = WorkerConfig.parse(LEAST, where="test")
    assert told.socket_path() == private_home / "run" / "plant-a.sock"
    for path in (f"/tmp/{'x' * 120}", f"/tmp/{'ä' * 50}"):  # bytes count, not letters
        with pytest.raises(ConfigError, match="too long for the system.*shorter one with socket="):
            WorkerConfig.parse({**LEAST, "socket": path}, where="test").socket_path()
    at_most = f"/tmp/{'x' * 95}"
    assert len(str(WorkerConfig(socket=at_most).socket_path())) == 100


def test_the_sites_words_reach_its_work() -> None:
    told = WorkerConfig.parse(OTHER, where="test").node()
    assert isinstance(told, NodeConfig)
    for name in SiteOwn.model_fields:
        assert getattr(told, name) == OTHER[kebab(name)], name
    assert told.worker == ""


def test_every_key_stands_in_the_pages() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert not [key for key in KEYS if f"`{key}`" not in page]


# -- worker init ------------------------------------------------------------------------------


def test_init_writes_what_it_was_told(cli, tmp_path: Path, file: Path) -> None:
    words = ["--site", "plant-a", "--data", str(tmp_path), "--user", "root", "--user", "1234"]
    words += ["--socket", "/run/w.sock", "--dp-required", "--dp-budget-epsilon", "8"]
    words += [
        "--ledger",
        "kept/ledger",
        "--roster",
        "roster.json",
        "--sums-key",
        "/etc/sums.key",
        "--hours",
        "22:00-06:00",
    ]
    code, out, err = cli("worker", "init", file, *words)
    assert (code, err) == (0, "")
    found = read_worker_config(file)
    assert (found.site, found.data, found.users) == ("plant-a", str(tmp_path), "root,1234")
    assert (found.socket, found.dp_required, found.dp_budget_epsilon) == ("/run/w.sock", True, 8.0)
    assert (found.roster, found.sums_key) == (str(Path("roster.json").absolute()), "/etc/sums.key")
    assert (found.ledger, found.hours) == (str(Path("kept/ledger").absolute()), "22:00-06:00")
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"fedpatchcore worker run {file}" in " ".join(out.split())
    assert "fedpatchcore node --worker /run/w.sock" in out


def test_init_does_not_write_over_a_file(cli, tmp_path: Path, file: Path) -> None:
    file.write_text("mine")
    words = ["--site", "plant-a", "--data", "images"]
    code, _, err = cli("worker", "init", file, *words)
    assert code == 2
    assert "is there already: change it, or write it anew with --force" in " ".join(err.split())
    assert file.read_text() == "mine"
    assert cli("worker", "init", file, *words, "--force")[0] == 0
    assert read_worker_config(file).data == str(Path("images").absolute())  # wherever it is run


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "x"], "say who this is and where its images are"),
        (["--site", "x"], "say who this is and where its images are"),
        (["--site", "a", "--data", "x", "--user", "nobody-so-called"], "there is no user"),
        (["--site", "a", "--data", "x", "--socket", "/" + "x" * 120], "too long for the system"),
        (["--site", "a", "--data", "x", "--dp-budget-epsilon", "-1"], "dp-budget-epsilon"),
    ],
)
def test_init_leaves_no_file_that_no_worker_takes(cli, file: Path, words, told: str) -> None:
    code, _, err = cli("worker", "init", file, *words)
    assert code == 2
    assert told in " ".join(err.split())
    assert not file.exists()
