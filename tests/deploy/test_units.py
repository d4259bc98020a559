"""Two systemd services of a site: what keeps them apart, and the script that installs them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedpatchcore.deploy import units as module
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.units import NODE_USER, WORKER_USER, SiteUnits
from fedpatchcore.errors import ConfigError
from fedpatchcore.worker import read_worker_config
from tests.support.apart import missing
from tests.support.installing import installed

WORKER, NODE = "fedpatchcore-worker.service", "fedpatchcore-node.service"
DATA = Path("/data/images")
HARD = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "PrivateTmp": "yes",
    "ProtectProc": "invisible",
    "Restart": "always",
    "StateDirectoryMode": "0700",
    "UMask": "0077",
}


def units(**changes: object) -> SiteUnits:
    given = {
        "site": "plant-a",
        "data": DATA,
        "superlink": Address("fed.example.com", 8443),
        "root_certificates": Path("ca.crt"),
        "key": Path("node.key"),
    }
    return SiteUnits(**{**given, **changes})


def service(text: str) -> dict[str, str]:
    """Keys of a unit's file; of a key that is given twice both."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key] = f"{found[key]}\n{value}" if key in found else value
    return found


def test_the_worker_has_no_network_and_the_node_no_images() -> None:
    files = units().files()
    worker, node = service(files[WORKER]), service(files[NODE])
    for one in (worker, node):
        assert {key: one[key] for key in HARD} == HARD
    assert (worker["User"], node["User"]) == (WORKER_USER, NODE_USER)
    assert worker["PrivateNetwork"] == "yes"
    assert worker["RestrictAddressFamilies"] == "AF_UNIX"
    assert worker["IPAddressDeny"] == "any"
    assert worker["ProtectHome"] == "tmpfs"
    assert worker["BindReadOnlyPaths"] == str(DATA)
    assert "PrivateNetwork" not in node
    hidden = {path.lstrip("-") for path in node["InaccessiblePaths"].split()}
    assert hidden == {str(DATA), "/var/lib/fedpatchcore-worker", "/etc/fedpatchcore/worker.toml"}
    assert str(DATA) not in node["ExecStart"]
    assert "fedpatchcore-worker.service" in node["After"]


def test_both_name_one_socket_and_the_worker_serves_the_nodes_user(tmp_path: Path) -> None:
    files = units(words={"dp-required": True, "dp-budget-epsilon": 4.0}).files()
    (tmp_path / "worker.toml").write_text(files["worker.toml"])
    words = read_worker_config(tmp_path / "worker.toml")
    assert words.dp_required
    assert words.users == NODE_USER
    assert f"--worker {words.socket_path()} " in service(files[NODE])["ExecStart"]
    folder = service(files[WORKER])["RuntimeDirectory"]
    assert words.socket_path().parent == Path("/run", folder)
    assert service(files[WORKER])["RuntimeDirectoryMode"] == "0755"  # the node's user enters it


def test_gpu_memory_and_weights_are_let_in(tmp_path: Path) -> None:
    plain = service(units().files()[WORKER])
    assert plain["PrivateDevices"] == "yes"
    assert "MemoryMax" not in plain
    weights = tmp_path / "w.pth"
    weights.touch()
    files = units(gpu=True, memory_max="8G", words={"weights": str(weights)}).files()
    told = service(files[WORKER])
    assert "PrivateDevices" not in told
    assert told["DevicePolicy"] == "closed"
    assert told["DeviceAllow"] == "char-nvidia* rw"
    assert told["MemoryMax"] == "8G"
    assert str(weights) in told["BindReadOnlyPaths"].split()
    assert service(files[NODE])["PrivateDevices"] == "yes"


@pytest.mark.parametrize(
    "changes",
    [
        {"site": "plant a\nUser=root"},
        {"data": Path("/data/my images")},
        {"data": Path("/data/100%")},
        {"superlink": Address("fed $(id)", 8443)},
        {"memory_max": "lots"},
        {"words": {"dp-budget-epsilon": -1.0}},
    ],
    ids=str,
)
def test_what_cannot_stand_in_a_service_is_refused(changes: dict) -> None:
    with pytest.raises(ConfigError):
        units(**changes).files()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_reads_them_and_finds_little_exposed(tmp_path: Path) -> None:
    units().write(tmp_path)
    for name, most in ((WORKER, 1.0), (NODE, 2.0)):
        read = subprocess.run(
            ["systemd-analyze", "verify", str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (read.returncode, read.stderr) == (0, "")
        told = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.search(r"exposure level for \S+: ([\d.]+)", told)
        assert found and float(found[1]) <= most, told


def test_the_command_writes_and_says_what_is_left(cli, tmp_path: Path) -> None:
    words = ("--superlink", "fed.example.com:8443", "--root-certificates", "ca.crt")
    words += ("--key", "node.key", "--site", "plant-a", "--data", DATA, "--out", tmp_path / "u")
    code, out, err = cli("worker", "units", *words)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "u").iterdir()) == sorted(units().files())
    for what in ("install.sh", "setfacl", "systemctl start", "doctor worker", "doctor site"):
        assert what in out
    code, _, err = cli("worker", "units", *words[:-1], "/proc/none")
    assert code == 2
    assert "cannot write /proc/none" in err


def test_installing_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = units(key=tmp_path / "none.key", python=Path("/usr/bin/env"))
    made.write(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="made by root"):
        made.install(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(SiteUnits, "closed", lambda self: "")
    with pytest.raises(ConfigError, match="none.key does not exist"):
        made.install(tmp_path)


def test_words_that_the_sites_own_file_does_not_say_are_refused(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed again with other words: the file stays, so the words would do nothing."""
    monkeypatch.setattr(module, "TOML", tmp_path / "worker.toml")
    assert units().stays() == ""  # the first time
    first = units().files()["worker.toml"]
    module.TOML.write_text(f'hours = "22:00-06:00"\n{first}')  # by hand; of it nothing is said
    assert units().stays() == ""
    strict = {"dp-required": True, "dp-budget-epsilon": 4.0}
    told = units(words=strict, data=Path("/data/new")).stays()
    assert "says data = '/data/images', dp-required = False, dp-budget-epsilon = 0.0: write" in told
    assert str(module.TOML) in told
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(SiteUnits, "closed", lambda self: "")
    with pytest.raises(ConfigError, match="the site's own and stays as it is, and it says dp-req"):
        units(words=strict).install(tmp_path)
    words = ("--superlink", "fed.example.com:8443", "--root-certificates", "ca.crt")
    words += ("--key", "node.key", "--site", "plant-b", "--data", DATA, "--out", tmp_path / "u")
    code, out, _ = cli("worker", "units", *words)
    assert code == 0
    assert "! " in out and "it says site = 'plant-a'" in out
    module.TOML.write_text("site =")
    with pytest.raises(ConfigError, match="is no TOML"):
        units().stays()


def test_an_installation_that_others_cannot_enter_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    told = units(python=tmp_path / "closed" / "python").closed()
    assert "which other users cannot enter" in told


def test_the_script_makes_users_files_and_leaves_the_sites_own_words(tmp_path: Path) -> None:
    """With the real useradd and install, on a copy of /etc that only this script sees."""
    if why := missing():
        pytest.skip(why)
    if not shutil.which("useradd"):
        pytest.skip("useradd is not installed")
    for name in ("node.key", "ca.crt"):
        (tmp_path / name).write_text(name)
    units(key=tmp_path / "node.key", root_certificates=tmp_path / "ca.crt").write(tmp_path / "u")
    lines = [
        "sh u/install.sh",
        "echo '# kept' >> /etc/fedpatchcore/worker.toml",
        "sh u/install.sh",
        "stat -c '%a %U %G %n' /etc/fedpatchcore/worker.toml /etc/fedpatchcore/node/*",
        f"id -u {WORKER_USER} {NODE_USER}; getent passwd {NODE_USER}",
    ]
    done = installed(tmp_path, lines)
    told = f"/etc/fedpatchcore/worker.toml stays as it is: compare it with {tmp_path}/u/worker.toml"
    assert done.stderr.splitlines().count(told) == 1
    assert f"640 root {WORKER_USER} /etc/fedpatchcore/worker.toml" in done.stdout
    assert f"600 {NODE_USER} {NODE_USER} /etc/fedpatchcore/node/node.key" in done.stdout
    assert "/usr/sbin/nologin" in done.stdout
    assert (tmp_path / "etc" / "fedpatchcore" / "worker.toml").read_text().endswith("# kept\n")
    there = {path.name for path in (tmp_path / "etc" / "systemd" / "system").glob("fedpatchcore-*")}
    assert there == {WORKER, NODE}
    assert "enable fedpatchcore-worker fedpatchcore-node" in (tmp_path / "log").read_text()
