"""A station as a systemd service: what it may see, write and reach, and how it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedpatchcore.errors import ConfigError
from fedpatchcore.station.settings import StationSettings, read_station_file
from fedpatchcore.station.units import STATION_USER, StationUnits
from tests.deploy.test_units import HARD, service
from tests.support.apart import missing
from tests.support.installing import installed

NAME = "fedpatchcore-station.service"
TOLD = {"station": "line-1", "bank": "/data/banks/plate.safetensors", "watch": "/data/in"}


def units(**told: object) -> StationUnits:
    words = {**TOLD, **{key.replace("_", "-"): one for key, one in told.items()}}
    return StationUnits(StationSettings.parse(words, where="test"))


def test_it_is_an_ordinary_user_that_sees_what_its_file_names() -> None:
    told = service(units().files()[NAME])
    assert {key: told[key] for key in HARD} == HARD
    assert told["User"] == STATION_USER and told["PrivateDevices"] == "yes"
    assert told["ProtectHome"] == "tmpfs" and "BindPaths" not in told
    # the bank's folder: a new file takes the old one's place
    assert told["BindReadOnlyPaths"].split() == ["/data/banks", "/data/in"]
    assert told["ExecStart"].endswith("station run /etc/fedpatchcore/station.toml")


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ({"taken": "delete"}, ["/data/in"]),
        ({"out": "/data/out"}, ["/data/out"]),
        ({"training": "/data/own"}, ["/data/own"]),
        ({"training": "/data/own", "taught_a_day": 0}, []),
    ],
)
def test_it_writes_only_where_its_file_has_it_write(words: dict, written: list[str]) -> None:
    told = service(units(**words).files()[NAME])
    assert told.get("BindPaths", "").split() == told.get("ReadWritePaths", "").split() == written
    assert not set(written) & set(told["BindReadOnlyPaths"].split())


@pytest.mark.parametrize(
    ("words", "alone"),
    [
        ({}, True),
        ({"webhook": "http://10.0.0.9/"}, False),
        ({"mqtt": "broker:1883"}, False),
        ({"listen": "0.0.0.0:8070", "certfile": "/c.crt", "keyfile": "/c.key"}, False),
        ({"bank": "", "registry": "https://c", "registry_key": "/k", "product": "p"}, False),
    ],
)
def test_it_reaches_no_other_host_unless_its_file_names_one(words: dict, alone: bool) -> None:
    told = service(units(**words).files()[NAME])
    assert (told.get("IPAddressDeny") == "any") is alone
    assert ("IPAddressAllow" in told) is alone


def test_its_own_file_says_the_same_with_a_state_and_keys_of_its_own(tmp_path: Path) -> None:
    words = {"bank": "", "registry": "https://c", "registry_key": "/home/a/k", "product": "plate"}
    words |= {"shifts": "05:00", "listen": "0.0.0.0:80", "certfile": "/c.crt", "keyfile": "/c.key"}
    made = units(**words)
    files = made.files()
    (tmp_path / "station.toml").write_text(files["station.toml"])
    told = read_station_file(tmp_path / "station.toml")
    assert told.state == "/var/lib/fedpatchcore-station" and told.shifts == "05:00"
    assert told.registry_key == "/etc/fedpatchcore/station/registry.key"
    assert told.keyfile == "/etc/fedpatchcore/station/page.key" and told.certfile == "/c.crt"
    for line in ("/home/a/k /etc/fedpatchcore/station/registry.key", "-m 0400 -o fpc-station"):
        assert line in files["install.sh"]
    assert "/home/a" not in files[NAME]


@pytest.mark.parametrize(
    "words",
    [
        {"station": "line 1"},
        {"watch": "/data/my images"},
        {"watch": "/data/100%"},
        {"out": "/data/$(id)"},
    ],
    ids=str,
)
def test_what_cannot_stand_in_a_service_is_refused(words: dict) -> None:
    with pytest.raises(ConfigError, match="cannot stand in a service's file"):
        units(**words)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_reads_it_and_finds_little_exposed(tmp_path: Path) -> None:
    for at, (words, most) in enumerate((({"taken": "delete"}, 2.0), ({"mqtt": "b:1"}, 2.0))):
        folder = tmp_path / str(at)
        units(**words).write(folder)
        read = subprocess.run(
            ["systemd-analyze", "verify", str(folder / NAME)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (read.returncode, read.stderr) == (0, "")
        told = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", str(folder / NAME)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.search(r"exposure level for \S+: ([\d.]+)", told)
        assert found and float(found[1]) <= most, told


def test_the_command_writes_and_says_what_is_left(cli, tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    words = ("--station", "line-1", "--bank", "/data/b/plate.safetensors", "--watch", "/data/in")
    assert cli("station", "init", file, *words)[0] == 0
    code, out, err = cli("station", "units", file, "--out", tmp_path / "u", "--memory-max", "4G")
    assert (code, err) == (0, "")
    assert {one.name for one in (tmp_path / "u").iterdir()} == set(units().files())
    assert "MemoryMax=4G" in (tmp_path / "u" / NAME).read_text()
    for what in ("install.sh", "setfacl", "systemctl start", "station status"):
        assert what in out
    assert cli("station", "units", file, "--out", "/proc/none")[0] == 2
    code, _, err = cli("station", "units", tmp_path / "none.toml")
    assert code == 2 and "does not exist" in err


def test_the_script_makes_the_user_and_leaves_the_stations_own_words(tmp_path: Path) -> None:
    """With the real useradd and install, on a copy of /etc that only this script sees."""
    if why := missing():
        pytest.skip(why)
    if not shutil.which("useradd"):
        pytest.skip("useradd is not installed")
    (tmp_path / "key").write_text("key")
    words = {"bank": "", "registry": "https://c", "registry_key": str(tmp_path / "key")}
    units(**words, product="plate").write(tmp_path / "u")
    lines = [
        "sh u/install.sh",
        "echo '# kept' >> /etc/fedpatchcore/station.toml",
        "sh u/install.sh",
        "stat -c '%a %U %G %n' /etc/fedpatchcore/station.toml /etc/fedpatchcore/station/*",
        f"getent passwd {STATION_USER}",
    ]
    done = installed(tmp_path, lines)
    assert f"640 root {STATION_USER} /etc/fedpatchcore/station.toml" in done.stdout
    key = f"400 {STATION_USER} {STATION_USER} /etc/fedpatchcore/station/registry.key"
    assert key in done.stdout and "/usr/sbin/nologin" in done.stdout
    assert "stays as it is" in done.stderr
    assert (tmp_path / "etc" / "fedpatchcore" / "station.toml").read_text().endswith("# kept\n")
    assert "enable fedpatchcore-station" in (tmp_path / "log").read_text()
