"""An installed wheel is enough for every way to run, in an empty folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from fedpatchcore.runs.launch import free_port
from tests.support.names import NAMES
from tests.support.places import NGINX
from tests.support.wheels import SMALL, Installed

pytestmark = pytest.mark.slow

SITES = NAMES[:2]


def test_demo(user: Installed) -> None:
    done = user("fedpatchcore", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "washer" in done.stdout
    (run,) = (user.home / "empty" / "runs").iterdir()
    assert (run / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize("way", ["simulate", "rehearse"])
def test_sites_on_this_machine(user: Installed, way: str) -> None:
    out = user.home / way
    done = user("fedpatchcore", way, "--data", "sites", "--out", out, *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = out.iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["rounds"][0]["train"]) == set(SITES)


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
        done = user("fedpatchcore", "run", "-c", f"out-dir={user.home / 'run'}", *SMALL)
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
