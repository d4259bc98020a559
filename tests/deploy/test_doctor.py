"""``fedpatchcore doctor``: every trouble is told by its cause, with what fixes it."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedpatchcore.cli.doctor import node_config
from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy import checks, doctor_server, network
from fedpatchcore.deploy.certs import make_authority, make_key, make_server, make_site
from fedpatchcore.deploy.checks import Check, Checks, Skip, ok
from fedpatchcore.deploy.doctor_server import ServerDoctor
from fedpatchcore.deploy.doctor_site import SiteDoctor
from fedpatchcore.deploy.doctor_way import clock
from fedpatchcore.deploy.network import Address, Port
from fedpatchcore.errors import ConfigError
from fedpatchcore.runs.launch import free_port
from tests.conftest import write_product


@contextmanager
def web_server(
    certificates: Path | None,
    *,
    skew: float = 0.0,
    statuses: dict[str, int] | None = None,
) -> Iterator[int]:
    """A (TLS) server on loopback whose clock is ``skew`` seconds ahead; its port."""
    known = {"/health": 200, "/v1/fleet/pull-messages": 401, **(statuses or {})}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(known.get(self.path, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + skew, usegmt=True)

        def log_message(self, *told: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make_authority(folder)
    make_server(folder, ["127.0.0.1"])
    make_site(folder, "plant-a")
    return folder


def dated(folder: Path, pki: Path, start: int, end: int) -> Path:
    """A server certificate of the pki's CA, valid from and until so many days from now."""
    ca = x509.load_pem_x509_certificate((pki / "ca" / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((pki / "ca" / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=start))
        .not_valid_after(now + timedelta(days=end))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "server.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder


def shake(port: int, ca: Path | None, host: str = "127.0.0.1") -> tuple[Check, Port]:
    """What the TLS check says of a port."""
    one = Port(Address(host, port), ca)
    assert one.tcp().state == "ok"
    return Checks().run("TLS", one.tls), one


# --- the runner ------------------------------------------------------------------------------


def test_a_check_neither_raises_nor_hangs_and_all_are_made() -> None:
    def skip() -> Check:
        raise Skip("no wire")

    def config() -> Check:
        raise ConfigError("bad setting")

    seen: list[Check] = []
    run = Checks(seen.append)
    assert run.run("fine", lambda: ok("well")).state == "ok"
    assert run.run("wire", skip) == Check("wire", "skipped", "not checked: no wire")
    assert not run.failed
    assert run.run("setting", config, fix="do that") == Check(
        "setting", "fail", "bad setting", "do that"
    )
    assert "ZeroDivisionError" in run.run("broken", lambda: ok(str(1 // 0))).told
    slow = run.run("slow", lambda: (time.sleep(1), ok("late"))[1], seconds=0.05)
    assert (slow.state, slow.told) == ("fail", "no result within 0.05 s")
    assert run.failed
    assert seen == run.results
    assert len(seen) == 5


def test_versions_are_compared_with_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.python().state == "ok"
    assert checks.libraries().state == "ok"
    monkeypatch.setattr(checks.metadata, "requires", lambda name: ["numpy>=99", "torch>=2"])
    told = checks.libraries()
    assert told.state == "fail"
    assert "(needs >=99)" in told.told
    assert told.fix == "pip install 'numpy>=99'"


def test_a_gpu_is_needed_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert checks.gpu("auto").state == "ok"
    assert checks.gpu("cuda").state == "fail"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda at: "Great GPU")
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    assert checks.gpu("auto").state == "warn"
    assert checks.gpu("cpu").state == "ok"
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    assert "Great GPU" in checks.gpu("cuda").told


def test_folders_that_cannot_be_written_and_full_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checks.writable({"cache": tmp_path / "new" / "one"}).state == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    told = checks.writable({"cache": tmp_path / "file" / "cache"})
    assert told.state == "fail"
    assert told.fix == f"move the file {tmp_path / 'file'} away"
    usage = shutil.disk_usage(tmp_path)._replace(free=int(5e9))
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    assert checks.disk(tmp_path).state == "ok"
    assert checks.disk(tmp_path, needed=6e9, what="features").state == "warn"
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    assert checks.disk(tmp_path).state == "warn"


# --- the way to the server -------------------------------------------------------------------


def test_an_unknown_name_a_closed_and_a_silent_port_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "is unknown here" in Port(Address("no-such-host.invalid", 1), None).tcp().told
    refused = Port(Address("127.0.0.1", free_port()), None)
    assert "nothing listens" in refused.tcp().told
    assert "cannot be reached" in Checks().run("TLS", refused.tls).told

    def silent(*told: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(network.socket, "create_connection", silent)
    told = Port(Address("127.0.0.1", 1), None).tcp()
    assert "firewall" in told.told
    assert "open TCP port 1" in told.fix


@pytest.mark.parametrize("text", ["server", "server:", ":8443", "server:0", "https://server:8443"])
def test_bad_addresses_are_misuse(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Address.parse(text)


def test_a_good_handshake(pki: Path) -> None:
    with web_server(pki / "server") as port:
        told, one = shake(port, pki / "ca" / "ca.crt")
        assert told.state == "ok"
        assert "good for 39" in told.told
        assert one.request("GET", "/health").status == 200
    assert str(Address.parse("[::1]:8443")) == "[::1]:8443"


def test_a_wrong_ca(pki: Path, tmp_path: Path) -> None:
    ca = make_authority(tmp_path, name="Somebody else") / "ca.crt"
    same = make_authority(tmp_path / "same") / "ca.crt"
    with web_server(pki / "server") as port:
        for trusted in (ca, same, None):
            told, one = shake(port, trusted)
            assert told.state == "fail"
            assert "wrong CA" in told.told
            assert ("of the same name" in told.told) == (trusted == same)
            assert "--root-certificates" in told.fix
            # the clock can still be looked at, and it is said how
            assert "not trusted" in clock(one).told


def test_a_wrong_name(pki: Path, tmp_path: Path) -> None:
    folder = dated(tmp_path / "server", pki, -1, 100)
    with web_server(folder) as port:
        told, _ = shake(port, pki / "ca" / "ca.crt")
        assert "is for localhost, not for '127.0.0.1'" in told.told
        assert "certs server pki --host 127.0.0.1" in told.fix
        assert shake(port, pki / "ca" / "ca.crt", "localhost")[0].state == "ok"


@pytest.mark.parametrize(
    ("start", "end", "state", "told"),
    [
        (-9, -1, "fail", "expired on"),
        (1, 9, "fail", "valid only from"),
        (-9, 9, "warn", "good for 9 days"),
    ],
)
def test_dates(pki: Path, tmp_path: Path, start: int, end: int, state: str, told: str) -> None:
    folder = dated(tmp_path / "server", pki, start, end)
    with web_server(folder) as port:
        found, _ = shake(port, pki / "ca" / "ca.crt", "localhost")
    assert found.state == state
    assert told in found.told
    assert found.fix


def test_plain_http_and_no_http(pki: Path) -> None:
    with web_server(None) as port:
        told, one = shake(port, pki / "ca" / "ca.crt")
        assert "plain HTTP" in told.told
        assert clock(one).state == "ok"
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def hang_up() -> None:
            for _ in range(3):
                silent.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        told, one = shake(silent.getsockname()[1], pki / "ca" / "ca.crt")
        thread.join()
    assert "no TLS handshake" in told.told
    assert one.speaks == ""


def test_a_ca_file_that_is_missing_or_damaged(pki: Path, tmp_path: Path) -> None:
    with web_server(pki / "server") as port:
        told, one = shake(port, tmp_path / "none.crt")
        assert "does not exist" in told.told
        assert one.speaks == "untrusted"
        (tmp_path / "bad.crt").write_text("nothing")
        assert "no PEM certificate" in shake(port, tmp_path / "bad.crt")[0].told


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(0, "ok"), (3.5, "warn"), (60, "fail"), (-60, "warn"), (-400, "fail")],
)
def test_clocks(pki: Path, ahead: float, state: str) -> None:
    with web_server(pki / "server", skew=-ahead) as port:
        _, one = shake(port, pki / "ca" / "ca.crt")
        told = clock(one)
    assert told.state == state
    assert bool(told.fix) == (state != "ok")


# --- a site ----------------------------------------------------------------------------------


@pytest.fixture
def site(settings: Callable, tmp_path: Path):
    """Names and results of all checks of a site."""

    def examine(**told: object) -> dict[str, Check]:
        data = told.pop("data", None) or str(write_product(tmp_path / "data" / "plate").parent)
        node = NodeConfig(site="plant-a", data=data, cache=str(tmp_path / "cache"))
        network_words = {
            k: told.pop(k) for k in ("superlink", "root_certificates", "key") if k in told
        }
        run = Checks()
        SiteDoctor(settings(**told), node, **network_words).run(run)
        return {check.name: check for check in run.results}

    return examine


def test_a_site_that_is_ready(site, pki: Path) -> None:
    told = site(key=pki / "sites" / "plant-a" / "node.key")
    assert "plate: 6 train, 6 test" in told["data folder"].told
    assert "fingerprint" in told["weights"].told
    assert "features of 12 images" in told["disk"].told
    assert {name for name, check in told.items() if check.state == "skipped"} == {
        "server port",
        "TLS",
        "clock",
        "registration",
        "control API",
    }
    assert not [check for check in told.values() if check.state == "fail"]


def test_troubles_of_a_site_do_not_hide_each_other(site, tmp_path: Path) -> None:
    told = site(data=str(tmp_path / "none"), weights="none.pth", key=tmp_path / "none.key")
    failed = {name for name, check in told.items() if check.state == "fail"}
    assert failed == {"data folder", "weights", "node key"}
    assert all(told[name].fix for name in failed)
    assert told["images"].state == "skipped"
    assert len(told) == 14


def test_unreadable_images_and_products_without_good_ones(site, tmp_path: Path) -> None:
    root = tmp_path / "data"
    product = write_product(root / "plate")
    (root / "ring" / "test" / "good").mkdir(parents=True)
    shutil.copy(product / "test" / "good" / "000.png", root / "ring" / "test" / "good")
    told = site(data=str(root))
    assert told["data folder"].state == "warn"
    assert "no good training images of ring" in told["data folder"].told
    broken = product / "train" / "good" / "000.png"
    broken.write_bytes(broken.read_bytes()[:200])
    told = site(data=str(root))
    assert told["images"].state == "warn"
    assert str(broken) in told["images"].told
    assert site(data=str(root), max_bad_images=0.01)["images"].state == "fail"
    shutil.rmtree(root / "plate" / "train")
    assert site(data=str(root))["data folder"].state == "fail"


def test_weights_that_a_run_may_download(site) -> None:
    told = site(weights="", download_weights=True)["weights"]
    assert told.state == "warn"
    assert "needs internet" in told.told
    assert site(weights="")["weights"].state == "fail"


def test_node_keys(site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(tmp_path / "own", "plant-a") / "node.key"
    assert site(key=key)["node key"].state == "ok"
    key.chmod(0o644)
    told = site(key=key)["node key"]
    assert (told.state, told.fix) == ("fail", f"chmod 600 {key}")
    (tmp_path / "text").write_text("no key")
    assert "no OpenSSH private key" in site(key=tmp_path / "text")["node key"].told
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    (tmp_path / "p256").write_bytes(other)
    assert "secp256r1" in site(key=tmp_path / "p256")["node key"].told


def test_an_open_control_api_and_a_key_nobody_asks_for(site, pki: Path) -> None:
    ca, key = pki / "ca" / "ca.crt", pki / "sites" / "plant-a" / "node.key"
    with web_server(pki / "server") as port:
        told = site(superlink=Address("127.0.0.1", port), root_certificates=ca, key=key)
        assert told["control API"].state == "ok"
        assert told["registration"].state == "fail"
        assert "does not pass Flower's calls on" in told["registration"].told
    with web_server(pki / "server", statuses={"/v1/control/list-runs": 200}) as port:
        told = site(superlink=Address("127.0.0.1", port))
        assert told["control API"].state == "warn"
        assert told["control API"].fix == "put the proxy in front (fedpatchcore proxy)"
        assert "wrong CA" in told["TLS"].told


def test_a_system_proxy_is_pointed_out(site, pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "elsewhere")
    with web_server(pki / "server") as port:
        told = site(superlink=Address("127.0.0.1", port))["server port"]
        assert (told.state, "NO_PROXY=127.0.0.1" in told.fix) == ("warn", True)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert site(superlink=Address("127.0.0.1", port))["server port"].state == "ok"


# --- the server ------------------------------------------------------------------------------


def server_checks(settings: Callable, tmp_path: Path, **told: object) -> dict[str, Check]:
    run = Checks()
    told.setdefault("superlink", Address("127.0.0.1", free_port()))
    ServerDoctor(settings(), out=tmp_path / "runs", **told).run(run)
    return {check.name: check for check in run.results}


def test_the_certificate_of_a_server(settings: Callable, pki: Path, tmp_path: Path) -> None:
    def state(folder: Path) -> tuple[str, str]:
        found = server_checks(settings, tmp_path, certificates=folder)["certificate"]
        return found.state, f"{found.told} → {found.fix}"

    assert state(pki / "server")[0] == "ok"
    assert "cannot be read" in state(tmp_path)[1]
    copy = tmp_path / "server"
    shutil.copytree(pki / "server", copy)
    (copy / "server.key").chmod(0o640)
    assert f"chmod 600 {copy / 'server.key'}" in state(copy)[1]
    shutil.copy(make_authority(tmp_path / "other") / "ca.crt", copy)
    assert "was not signed by" in state(copy)[1]
    shutil.copy(pki / "ca" / "ca.key", copy / "server.key")
    assert "is not the key of" in state(copy)[1]
    shutil.copy(pki / "ca" / "ca.crt", copy)
    for name, end, told in (("old", -1, "it has expired"), ("soon", 9, "9 days left")):
        folder = dated(tmp_path / name, pki, -9, end)
        (folder / "server.key").chmod(0o600)
        shutil.copy(pki / "ca" / "ca.crt", folder)
        assert told in state(folder)[1]


@pytest.mark.parametrize(
    ("statuses", "name", "state", "told"),
    [
        ({}, "proxy", "ok", "401 from the SuperLink"),
        ({"/v1/fleet/pull-messages": 502}, "proxy", "fail", "does not reach the SuperLink"),
        ({"/v1/fleet/pull-messages": 404}, "proxy", "fail", "not passed on"),
        ({"/v1/fleet/pull-messages": 200}, "proxy", "fail", "unexpected"),
        ({}, "closed calls", "ok", "cannot be reached"),
        ({"/v1/control/list-runs": 200}, "closed calls", "fail", "list-runs (200)"),
        ({"/v1/runtime/get-nodes": 401}, "closed calls", "fail", "get-nodes (401)"),
    ],
)
def test_the_public_port(
    settings: Callable, pki: Path, tmp_path: Path, statuses: dict, name: str, state: str, told: str
) -> None:
    with web_server(pki / "server", statuses=statuses) as port:
        public = Address("127.0.0.1", port)
        found = server_checks(settings, tmp_path, public=public, certificates=pki / "server")
    assert found[name].state == state
    assert told in found[name].told
    assert found["SuperLink port"].state == "fail"
    assert found["nodes"].state == "skipped"


def test_a_private_port_that_is_not_private(
    settings: Callable, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server(pki / "server") as port:
        superlink = Address("127.0.0.1", port)
        found = server_checks(settings, tmp_path, superlink=superlink)
        assert found["private"].state == "ok"
        assert found["SuperLink TLS"].state == "skipped"
        assert found["SuperLink"].state == "ok"
        monkeypatch.setattr(doctor_server, "own_addresses", lambda: {"127.0.0.1"})
        found = server_checks(settings, tmp_path, superlink=superlink)["private"]
    assert found.state == "warn"
    assert "--host 127.0.0.1" in found.fix


def test_how_the_superlink_was_started(
    settings: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list = [None]
    monkeypatch.setattr(doctor_server, "superlink_process", lambda port: seen[0])
    assert server_checks(settings, tmp_path)["options"].state == "skipped"
    seen[0] = (["flower-superlink", "--insecure"], [])
    told = server_checks(settings, tmp_path)["options"]
    assert told.state == "warn"
    assert "--enable-supernode-auth" in told.fix
    assert "--disable-runtime-dependency-installation" in told.fix
    variable = "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1"
    seen[0] = (["flower-superlink", "--enable-supernode-auth"], [variable])
    assert server_checks(settings, tmp_path)["options"].state == "ok"


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    from fedpatchcore.cli import main

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedpatchcore", "doctor", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return call


def test_exit_codes_and_lines(cli, tmp_path: Path) -> None:
    write_product(tmp_path / "data" / "plate")
    words = ["site", "-c", "backbone=filterbank", "--node-config"]
    code, out, _ = cli(*words, f"site='plant-a' data='{tmp_path / 'data'}'")
    assert code == 0
    assert "✓ data folder" in out
    assert "– server port" in out
    code, out, _ = cli(*words, f"data='{tmp_path / 'none'}'")
    assert code == 1
    assert "✗ data folder" in out
    assert "    → correct data='...'" in out
    code, out, _ = cli(*words, f"data='{tmp_path / 'none'}'", "--json")
    table = {check["name"]: check for check in json.loads(out)}
    assert code == 1
    assert table["data folder"]["state"] == "fail"
    assert set(table["weights"]) == {"name", "state", "told", "fix"}


def test_the_environment_counts_as_in_a_run(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_product(tmp_path / "data" / "plate")
    monkeypatch.setenv("FEDPATCHCORE_DATA", str(tmp_path / "data"))
    code, out, _ = cli("site", "-c", "backbone=filterbank")
    assert code == 0
    assert "plate: 6 train" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["site", "--superlink", "server"], "write HOST:PORT"),
        (["site", "--node-config", "site=plant-a"], "need quotes"),
        (["site", "--node-config", "plant-a"], "key='value' pairs"),
        (["site", "--node-config", "none.toml"], "No such file"),
        (["site", "--node-config", "dta='/data'"], "did you mean 'data'?"),
        (["site", "-c", "colour=red"], "unknown key 'colour'"),
        (["server", "--public", "8443"], "write HOST:PORT"),
    ],
)
def test_misuse_is_one_line_and_two(cli, words: list[str], told: str) -> None:
    code, _, err = cli(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert told in err


def test_node_config_is_read_as_flower_reads_it(tmp_path: Path) -> None:
    from flwr.common.config import parse_config_args

    for text in ("site='plant-a' data='/my data'", 'site="a"', "partition-id=0 num-partitions=5"):
        assert node_config(text) == parse_config_args([text])
    assert node_config("") == {}
    (tmp_path / "node.toml").write_text("site = 'plant-a'\n")
    assert node_config(str(tmp_path / "node.toml")) == {"site": "plant-a"}


def test_a_knock_at_nobodys_door(pki: Path, tmp_path: Path) -> None:
    from client_app.knock import knock

    ca, key = pki / "ca" / "ca.crt", pki / "sites" / "plant-a" / "node.key"
    assert knock(f"127.0.0.1:{free_port()}", ca, key)["answer"] == "unreachable"
    assert knock("127.0.0.1:1", ca, tmp_path / "none.key")["answer"] == "bad-key"
    with web_server(pki / "server", statuses={"/v1/fleet/activate-node": 401}) as port:
        assert knock(f"127.0.0.1:{port}", ca, key)["answer"] == "refused"
    with web_server(pki / "server") as port:
        assert knock(f"127.0.0.1:{port}", ca, key)["answer"] == "closed"
        assert knock(f"127.0.0.1:{port}", make_authority(tmp_path) / "ca.crt", key)["answer"] == (
            "unreachable"
        )
