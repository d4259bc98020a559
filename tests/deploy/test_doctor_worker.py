"""The doctor of a site with a worker: from the worker's side, and from the node's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.doctor.checks import Check, Checks, Skip
from fedpatchcore.deploy.doctor.users import allowed, ways_out
from fedpatchcore.deploy.doctor.worker import WorkerChecks
from fedpatchcore.deploy.doctor.worker_side import WorkerDoctor
from fedpatchcore.errors import WorkerAway
from fedpatchcore.service.link import Link
from fedpatchcore.version import VERSION
from fedpatchcore.worker import worker_file
from tests.support.products import write_product

NOBODY, SOMEBODY = 64091, 64092  # numbers that no user of this machine has
HEALTH = {"site": "plant-a", "version": VERSION, "state": "idle", "waiting": 0, "queue": 4}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users are tried as root alone")


@pytest.fixture
def open_tmp() -> Iterator[Path]:
    """A folder that every user may enter, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="fpc-doctor-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a worker answer as told; without words none does."""

    def answer(**told: Any) -> None:
        def asked(self: Link) -> dict[str, Any]:
            if not told:
                raise WorkerAway("no socket there")
            return {**HEALTH, "process": told.get("pid", 0), **told}

        monkeypatch.setattr(Link, "health", asked)

    return answer


@pytest.fixture
def worker(settings: Callable, open_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    """Checks of a worker whose file has these words, by name."""
    monkeypatch.setenv("FEDPATCHCORE_HOME", str(open_tmp / "state"))
    data = write_product(open_tmp / "images" / "plate").parent
    data.chmod(0o700)
    file = open_tmp / "worker.toml"

    def examine(*, mode: int = 0o600, **words: object) -> dict[str, Check]:
        given = {"site": "plant-a", "data": str(data), "users": str(NOBODY), **words}
        file.write_text(worker_file(given, file))
        file.chmod(mode)
        run = Checks()
        WorkerDoctor(settings(), file).run(run)
        return {check.name: check for check in run.results}

    return examine


def give(path: Path, owner: int) -> None:
    for one in (path, *path.rglob("*")):
        os.chown(one, owner, owner)


def node(data: Path | None = None, site: str = "plant-a") -> dict[str, Check]:
    run = Checks()
    told = NodeConfig(site=site, worker="/run/none.sock")
    WorkerChecks(told, data).run(run)
    return {check.name: check for check in run.results}


@as_root
def test_a_worker_that_is_as_it_should_be(worker, health, open_tmp: Path) -> None:
    health(uid=SOMEBODY, pid=os.getpid())
    give(open_tmp / "images", SOMEBODY)
    (open_tmp / "state").mkdir()
    give(open_tmp / "state", SOMEBODY)
    told = worker()
    assert {name: c for name, c in told.items() if c.state == "fail"} == {}
    assert told["worker"].told.startswith(f"user {SOMEBODY}")
    assert told["other users"].state == "ok"
    assert str(NOBODY) in told["other users"].told
    assert told["worker's user"].state == "ok"


@as_root
def test_images_that_the_nodes_user_reads_are_told(worker, health, open_tmp: Path) -> None:
    health(uid=SOMEBODY, pid=os.getpid())
    (open_tmp / "images").chmod(0o755)
    told = worker()["other users"]
    assert told.state == "fail"
    assert f"user {NOBODY}, which has the network, can read {open_tmp / 'images'}" in told.told
    assert told.fix.startswith(f"chmod -R o-rwx {open_tmp / 'images'}")


@as_root
@pytest.mark.parametrize("what", ["train", "test"])
def test_images_behind_a_link_are_tried_where_they_lie(
    worker, health, open_tmp: Path, what: str
) -> None:
    """The folder is closed, what a link in it leads to is not."""
    health(uid=SOMEBODY, pid=os.getpid())
    closed = open_tmp / "images" / "plate" / what
    (open_tmp / "camera").mkdir()
    shutil.move(closed, open_tmp / "camera" / what)
    closed.symlink_to(open_tmp / "camera" / what)
    told = worker()["other users"]
    assert told.state == "fail"
    assert f"user {NOBODY}, which has the network, can read {open_tmp}/camera/{what}" in told.told
    assert told.fix.startswith(f"chmod -R o-rwx {open_tmp}/camera/{what}")
    (open_tmp / "camera").chmod(0o700)
    assert worker()["other users"].state == "ok"


@as_root
def test_a_key_for_secure_sums_is_the_workers_alone(worker, health, open_tmp: Path) -> None:
    health(uid=SOMEBODY, pid=os.getpid())
    key = open_tmp / "sums.key"
    key.touch(mode=0o644)
    words = {"sums-key": str(key), "roster": str(open_tmp / "roster.json")}
    assert f"can read {key}" in worker(**words)["other users"].told
    key.chmod(0o600)
    assert worker(**words)["other users"].state == "ok"


@as_root
@pytest.mark.skipif(not shutil.which("setfacl"), reason="setfacl is not installed")
def test_an_access_list_counts(open_tmp: Path) -> None:
    file = open_tmp / "image.png"
    file.touch(mode=0o600)
    assert allowed(NOBODY, [file]) == set()
    subprocess.run(["setfacl", "-m", f"u:{NOBODY}:r", str(file)], check=True)
    assert allowed(NOBODY, [file]) == {file}
    assert allowed(SOMEBODY, [file]) == set()


@as_root
def test_a_worker_that_is_blind_or_cannot_write(worker, health, open_tmp: Path) -> None:
    health(uid=SOMEBODY, pid=os.getpid())
    told = worker()["worker's user"]
    assert f"user {SOMEBODY} cannot read {open_tmp / 'images'}" in told.told
    assert "setfacl" in told.fix
    give(open_tmp / "images", SOMEBODY)
    told = worker()["worker's user"]
    assert "cannot write its cache" in told.told


def test_a_file_that_others_write(worker, health, open_tmp: Path) -> None:
    health()
    assert worker()["its permissions"].state == "ok"
    told = worker(mode=0o666)["its permissions"]
    assert (told.state, told.fix) == ("fail", f"chmod go-w {open_tmp / 'worker.toml'}")
    open_tmp.chmod(0o777)  # then another file can be put in its place
    assert worker()["its permissions"].fix == f"chmod go-w {open_tmp}"


def test_a_worker_that_is_away_or_another_or_root(worker, health) -> None:
    health()
    told = worker()
    assert told["worker"].state == "warn"
    assert told["network"].state == "skipped"
    assert told["data folder"].state == "ok"  # the rest is looked at all the same
    health(uid=0, pid=os.getpid())
    assert "root" in worker()["worker"].told
    health(uid=SOMEBODY, pid=0, site="plant-b")
    told = worker()
    assert "plant-b" in told["worker"].told
    assert told["network"].state == "skipped"


def test_a_worker_that_serves_its_own_user_alone(worker, health) -> None:
    health(uid=os.geteuid(), pid=os.getpid())
    told = worker(users="")["other users"]
    assert told.state == "warn"
    assert "run as one user" in told.told
    assert "fedpatchcore worker units" in told.fix


def test_a_file_that_is_none_ends_it_in_a_line(settings, tmp_path: Path) -> None:
    (tmp_path / "worker.toml").write_text("site = \n")
    for file, told in (("worker.toml", "is no TOML"), ("none.toml", "worker init")):
        run = Checks()
        WorkerDoctor(settings(), tmp_path / file).run(run)
        assert [check.name for check in run.results] == ["Python", "libraries", "worker's file"]
        assert told in run.results[-1].told
        assert run.failed


def test_unknown_users_in_the_file(worker, health) -> None:
    health()
    told = worker(users="no-such-user")["worker's file"]
    assert (told.state, "useradd" in told.told) == ("fail", True)


@as_root
def test_ways_out_of_a_process() -> None:
    inside = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    try:
        mine = Path("/proc/self/ns/net").readlink()
        for _ in range(100):  # until it is in its own network
            if Path(f"/proc/{inside.pid}/ns/net").readlink() != mine:
                break
            time.sleep(0.05)
        assert ways_out(inside.pid) == []
        enter = ["nsenter", "--net", "--target", str(inside.pid)]
        made = subprocess.run(
            [*enter, "ip", "link", "add", "d0", "type", "veth", "peer", "d1"], check=False
        )
        if made.returncode:
            pytest.skip("no interface can be made here")
        subprocess.run([*enter, "ip", "addr", "add", "10.9.9.9/24", "dev", "d0"], check=True)
        subprocess.run([*enter, "ip", "link", "set", "d0", "up"], check=True)
        assert ways_out(inside.pid) == ["d0"]
    finally:
        inside.kill()
        inside.wait()
    with pytest.raises(Skip):
        ways_out(2**22 + 1)


def test_from_the_nodes_side(health, open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_tmp / "images"
    data.mkdir(mode=0o755)
    health()
    assert node()["two users"].state == "skipped"
    monkeypatch.setattr("os.geteuid", lambda: NOBODY)
    health(uid=NOBODY)
    told = node()["two users"]
    assert (told.state, "run as one user" in told.told) == ("warn", True)
    health(uid=0)
    assert "as root" in node()["two users"].told
    health(uid=SOMEBODY)
    told = node(data)
    assert told["two users"].state == "ok"
    assert told["images"].state == "fail"
    assert f"can read and enter {data}" in told["images"].told
    assert node(open_tmp / "none")["images"].state == "warn"  # of a folder that is mistyped
    assert "No such file" in node(open_tmp / "none")["images"].told
    assert "images" not in node()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    told = node(data)
    assert (told["two users"].state, told["images"].state) == ("warn", "skipped")


@as_root
@pytest.mark.parametrize(
    ("mode", "can"), [(0o704, "read"), (0o701, "enter"), (0o705, "read and enter"), (0o700, "")]
)
def test_who_may_enter_the_folder_reads_images_by_their_names(
    open_tmp: Path, mode: int, can: str
) -> None:
    data = open_tmp / "images"
    data.mkdir()
    (data / "000.png").touch(mode=0o644)
    data.chmod(mode)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from fedpatchcore.config import NodeConfig\n"
        "from fedpatchcore.deploy.doctor.worker import WorkerChecks\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "told = WorkerChecks(NodeConfig(site='a', worker='/w'), Path(sys.argv[1])).closed()\n"
        "print(told.state, os.access(sys.argv[1] + '/000.png', os.R_OK), told.told)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data)], capture_output=True, text=True, check=True
    )
    state, reads, told = done.stdout.split(maxsplit=2)
    assert (state, reads) == ("fail" if can else "ok", str(bool(mode & 1)))
    assert (f"can {can} {data}" if can else "is closed to user") in told


def test_permissions_tell_of_other_users(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root: owner, group and the rest, of the path and of all folders above it."""
    folder = open_tmp / "a"
    folder.mkdir(mode=0o711)
    file = folder / "image.png"
    file.touch(mode=0o644)
    mine = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: mine + 12345)
    assert allowed(NOBODY, [file]) == {file}
    assert allowed(NOBODY, [folder]) == set()
    assert allowed(NOBODY, [file], "w") == set()
    assert allowed(mine, [file], "w") == {file}
    folder.chmod(0o700)
    assert allowed(NOBODY, [file]) == set()
    assert allowed(NOBODY, [folder / "none"]) == set()
