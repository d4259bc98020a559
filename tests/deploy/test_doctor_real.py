"""The doctor against a real SuperLink and proxy, with a SuperNode that must not notice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedpatchcore.deploy.certs import make_authority, make_server, make_site
from fedpatchcore.deploy.proxy import nginx_configuration
from fedpatchcore.runs.launch import free_port
from tests.support.field import until
from tests.support.places import NGINX, SCRIPTS
from tests.support.products import write_product

pytestmark = [pytest.mark.slow, pytest.mark.long]


class Field:
    """A SuperLink, a proxy and what a site needs, in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pki = root / "pki"
        self.private, self.public = free_port(), free_port()
        self.environment = {
            **os.environ,
            "PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLWR_HOME": str(root / "flwr"),
            "FEDPATCHCORE_HOME": str(root / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "COLUMNS": "200",
        }
        self.processes: list[subprocess.Popen] = []
        self.ca = self.pki / "ca" / "ca.crt"
        (root / "flwr").mkdir()

    def start(self, name: str, *words: object) -> subprocess.Popen:
        """Start a process whose output goes to ``<name>.log``."""
        program, *rest = map(str, words)
        with (self.root / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(SCRIPTS / program) if not program.startswith("/") else program, *rest],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def superlink(self, name: str, port: int, *extra: str) -> None:
        """Start a SuperLink with TLS at a private port, and name it in Flower's settings."""
        server = self.pki / "server"
        certificates = ["--ssl-ca-certfile", server / "ca.crt", "--ssl-certfile"]
        certificates += [server / "server.crt", "--ssl-keyfile", server / "server.key"]
        where = ["--host", "127.0.0.1", "--port", port, "--disable-runtime-dependency-installation"]
        self.start(name, "flower-superlink", *certificates, *where, *extra)
        with (self.root / "flwr" / "config.toml").open("a") as file:
            file.write(
                f'[superlink.{name}]\naddress = "127.0.0.1:{port}"\n'
                f'root-certificates = "{self.ca}"\n'
            )

    def call(self, *words: object) -> subprocess.CompletedProcess:
        """Run a program of this environment to its end."""
        program, *rest = map(str, words)
        return subprocess.run(
            [str(SCRIPTS / program), *rest],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def knock(self, site: str, port: int) -> dict[str, str]:
        """What the door says to a site's key."""
        words = ["--superlink", f"127.0.0.1:{port}", "--root-certificates", self.ca]
        key = self.pki / "sites" / site / "node.key"
        done = self.call("python", "-m", "client_app.knock", *words, "--key", key)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def register(self, site: str, connection: str) -> None:
        """Register a site's public key, as the server's keeper does."""
        public = self.pki / "sites" / site / "node.pub"
        done = self.call("flwr", "supernode", "register", public, connection, "--name", site)
        assert done.returncode == 0, done.stdout + done.stderr

    def nodes(self, connection: str = "here") -> list[dict[str, object]]:
        """Registered nodes, without the seconds that have passed."""
        done = self.call("flwr", "supernode", "list", connection, "--format", "json")
        found = json.loads(done.stdout[done.stdout.index("{") :])["nodes"]
        return [{k: v for k, v in node.items() if k != "online-elapsed"} for node in found]

    def doctor(self, who: str, *words: object) -> tuple[int, dict[str, dict[str, str]]]:
        """Exit code and checks by name."""
        done = self.call("fedpatchcore", "doctor", who, "--json", *words)
        assert done.stdout, done.stderr
        return done.returncode, {check["name"]: check for check in json.loads(done.stdout)}

    def stop(self) -> None:
        """End what was started here."""
        for process in reversed(self.processes):
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(15)
            except ProcessLookupError:
                continue
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    if NGINX is None:
        pytest.skip("nginx is not installed: the proxy cannot be started")
    one = Field(tmp_path_factory.mktemp("field"))
    make_authority(one.pki)
    make_server(one.pki, ["127.0.0.1"])
    for name in ("plant-a", "plant-b"):
        make_site(one.pki, name)
    write_product(one.root / "data" / "plate")
    (one.root / "scratch").mkdir()
    proxy = one.root / "proxy.conf"
    proxy.write_text(
        nginx_configuration(
            one.pki / "server",
            listen=f"127.0.0.1:{one.public}",
            superlink=f"127.0.0.1:{one.private}",
            scratch=one.root / "scratch",
        )
    )
    try:
        one.superlink("here", one.private, "--enable-supernode-auth")
        one.start("nginx", NGINX, "-c", proxy)
        until(
            lambda: one.knock("plant-a", one.public)["answer"] != "unreachable",
            60,
            "the proxy does not answer",
        )
        one.register("plant-a", "here")
        yield one
    finally:
        one.stop()


def test_a_knock_tells_known_from_unknown_and_changes_nothing(field: Field) -> None:
    before = field.nodes()
    assert [node["status"] for node in before] == ["registered"]
    assert field.knock("plant-a", field.public)["answer"] == "registered"
    assert field.knock("plant-b", field.public)["answer"] == "unknown-key"
    told = field.knock("plant-a", field.private)
    assert (told["answer"], told["node-authentication"]) == ("registered", "on")
    assert field.nodes() == before


@pytest.mark.long
def test_a_running_supernode_does_not_notice(field: Field) -> None:
    key = field.pki / "sites" / "plant-a" / "node.key"
    words = ["--superlink", f"127.0.0.1:{field.public}", "--root-certificates", field.ca]
    node = field.start(
        "supernode",
        "flower-supernode",
        *words,
        *("--auth-supernode-private-key", key, "--port", free_port()),
        *("--node-config", f"site='plant-a' data='{field.root / 'data'}'"),
    )
    until(lambda: field.nodes()[0]["status"] == "online", 60, "the SuperNode is not online")
    time.sleep(2)
    before, log = field.nodes(), (field.root / "supernode.log").read_bytes()
    for port in (field.public, field.private, field.public):
        assert field.knock("plant-a", port)["answer"] == "registered"

    site = [*words, "--key", key, "-c", "backbone=filterbank"]
    site += ["--node-config", f"site='plant-a' data='{field.root / 'data'}'"]
    code, told = field.doctor("site", *site)
    assert code == 0, told
    odd = {name: check["state"] for name, check in told.items() if check["state"] != "ok"}
    assert odd == {"two users": "warn", "roster": "skipped"}

    server = ["--certificates", field.pki / "server", "--superlink", f"127.0.0.1:{field.private}"]
    server += ["--public", f"127.0.0.1:{field.public}", "--connection", "here"]
    server += ["--state", field.root / "state", "--out-dir", field.root / "runs"]
    code, told = field.doctor("server", *server)
    assert code == 0, told
    assert {name: check for name, check in told.items() if check["state"] != "ok"} == {}
    assert told["nodes"]["told"] == "1 registered, 1 online"

    time.sleep(5)  # the SuperNode has asked for messages again meanwhile
    assert node.poll() is None
    assert field.nodes() == before
    assert (field.root / "supernode.log").read_bytes() == log


def test_a_site_at_the_wrong_door(field: Field) -> None:
    words = ["--superlink", f"127.0.0.1:{field.private}", "--root-certificates", field.ca]
    words += ["--key", field.pki / "sites" / "plant-b" / "node.key", "-c", "backbone=filterbank"]
    code, told = field.doctor("site", *words, "--node-config", f"data='{field.root / 'data'}'")
    assert code == 1
    assert told["control API"]["state"] == "warn"
    assert told["registration"]["state"] == "fail"
    assert "flwr supernode register node.pub" in told["registration"]["fix"]


def test_the_superlink_itself_in_the_place_of_the_proxy(field: Field) -> None:
    here = f"127.0.0.1:{field.private}"
    words = ["--certificates", field.pki / "server", "--superlink", here, "--public", here]
    code, told = field.doctor("server", *words)
    assert code == 1
    assert "/v1/control/list-runs (200)" in told["closed calls"]["told"]
    assert told["proxy"]["state"] == "ok"


def test_a_superlink_without_node_authentication(field: Field) -> None:
    port = free_port()
    field.superlink("open", port)
    until(
        lambda: field.knock("plant-a", port)["answer"] == "unknown-key",
        60,
        "the SuperLink does not answer",
    )
    field.register("plant-a", "open")
    before = field.nodes("open")
    told = field.knock("plant-a", port)
    assert (told["answer"], told["node-authentication"]) == ("registered", "off")
    assert field.nodes("open") == before
