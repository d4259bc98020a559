"""An installed wheel is enough: every way to run, in an empty folder, with nothing of the tree.

The environment is fresh, its packages may not change, and no variable leads back to the tree.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedpatchcore.runs.launch import free_port
from tests.support.places import NGINX, ROOT
from tests.support.products import write_product
from tests.support.wheels import build_wheel, environment

pytestmark = pytest.mark.slow

SITES = ("north", "south")
SMALL = (
    "backbone=filterbank geometry=full image-size=64 coreset-size=40 heatmaps=1 threads=1 "
    "expected-sites=2"
)


@dataclass
class Installed:
    """A user's home beside an environment that has the wheel."""

    bin: Path
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        kept = {k: os.environ[k] for k in ("LANG", "TMPDIR", "SSL_CERT_FILE") if k in os.environ}
        path = f"{self.bin}{os.pathsep}/usr/local/bin:/usr/bin:/bin:/usr/sbin"
        own = {"HOME": str(self.home), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return {**kept, **own, "COLUMNS": "200", "FLWR_HOME": str(self.home / "flwr")}

    def __call__(self, *words: object) -> subprocess.CompletedProcess:
        program, *rest = map(str, words)
        return subprocess.run(
            [self.bin / program, *rest],
            env=self.variables,
            cwd=self.home / "empty",
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, name: str, *words: object) -> subprocess.Popen:
        with (self.home / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [self.bin / "fedpatchcore", *map(str, words)],
                env=self.variables,
                cwd=self.home / "empty",
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def digest(folder: Path) -> str:
    told = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        stat = path.lstat()
        told.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return told.hexdigest()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def user(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    place = tmp_path_factory.mktemp("host")
    found = Installed(environment(wheel, place / "environment"), place / "home")
    (found.home / "empty").mkdir(parents=True)
    for site in SITES:
        write_product(found.home / "empty" / "sites" / site / "plate", train=6)
    before = digest(place / "environment")
    yield found
    assert digest(place / "environment") == before  # a folder that only root may write would do


def few() -> list[str]:
    return [word for pair in SMALL.split() for word in ("-c", pair)]


def test_a_wheel_holds_the_app_inside_the_package_and_nothing_beside_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"fedpatchcore"}
    for app in ("client_app", "server_app"):
        for source in (ROOT / app).glob("*.py"):
            assert f"fedpatchcore/_app/{app}/{source.name}" in names
    pages = [p for p in (ROOT / "fedpatchcore/report/templates").rglob("*") if p.is_file()]
    assert pages
    assert {str(p.relative_to(ROOT)) for p in pages} <= set(names)
    assert not [name for name in names if name.endswith((".pyc", ".safetensors"))]


def test_the_package_is_the_wheels(user: Installed) -> None:
    code = "import fedpatchcore, importlib.util as u; print(fedpatchcore.__file__)"
    done = user("python", "-c", f"{code}; print(u.find_spec('client_app'))")
    place, found = done.stdout.split()
    assert Path(place).is_relative_to(user.bin.parent)
    assert found == "None"


def test_demo(user: Installed) -> None:
    done = user("fedpatchcore", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "washer" in done.stdout
    (run,) = (user.home / "empty" / "runs").iterdir()
    assert (run / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize("way", ["simulate", "rehearse"])
def test_sites_on_this_machine(user: Installed, way: str) -> None:
    out = user.home / way
    done = user("fedpatchcore", way, "--data", "sites", "--out", out, *few())
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = out.iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["rounds"][0]["train"]) == set(SITES)


def test_doctor(user: Installed) -> None:
    told = "site='north' data='sites/north'"
    done = user(
        "fedpatchcore", "doctor", "site", "--node-config", told, "-c", "backbone=filterbank"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ data folder" in done.stdout


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (nginx-light)")
def test_across_hosts(user: Installed) -> None:
    """certs, serve, register, node, doctor with its knock at the door, run, status."""
    door, port = free_port(), free_port()
    pki = user.home / "empty" / "pki"
    assert user("fedpatchcore", "certs", "init", "pki", "--host", "localhost").returncode == 0
    flwr = user.home / "flwr"
    flwr.mkdir()
    (flwr / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
        f'root-certificates = "{pki}/server/ca.crt"\n'
    )
    at = ("--superlink", f"localhost:{door}", "--root-certificates", "pki/ca/ca.crt")
    listen = ("--listen", f"127.0.0.1:{door}", "--superlink", f"127.0.0.1:{port}")
    running = [user.start("serve", "serve", "pki/server", *listen, "--state", "state")]
    try:
        end = time.monotonic() + 60
        while user("flwr", "supernode", "list").returncode and time.monotonic() < end:
            time.sleep(1)
        for site in SITES:
            user("fedpatchcore", "certs", "key", f"keys-{site}", site)
            done = user("flwr", "supernode", "register", f"keys-{site}/node.pub", "--name", site)
            assert "registered" in done.stdout, done.stdout + done.stderr
            own = ("--site", site, "--data", f"sites/{site}", "--state", f"state-{site}")
            words = ("node", *at, "--key", f"keys-{site}/node.key", *own)
            running.append(user.start(site, *words))
        told = "site='north' data='sites/north'"
        words = ("--key", "keys-north/node.key", "--node-config", told)
        done = user("fedpatchcore", "doctor", "site", *at, *words, "-c", "backbone=filterbank")
        assert "the SuperLink knows this key" in done.stdout, done.stdout + done.stderr
        done = user("fedpatchcore", "run", "-c", f"out-dir={user.home / 'run'}", *few())
        assert done.returncode == 0, done.stdout + done.stderr
        assert "online" in user("fedpatchcore", "status").stdout
    finally:
        for process in running[::-1]:
            process.terminate()
        for process in running[::-1]:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def test_an_installation_that_lacks_its_app_is_told_what_mends_it(user: Installed) -> None:
    """An app folder that was taken away is named, with what brings it back."""
    app = next(user.bin.parent.rglob("fedpatchcore/_app"))
    away = app.with_name("_away")
    app.rename(away)
    try:
        done = user("fedpatchcore", "simulate", "--data", "sites", *few())
    finally:
        away.rename(app)
    assert done.returncode == 2
    assert "not wholly installed (pip install --force-reinstall" in done.stderr
