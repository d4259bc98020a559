"""The doctor on the way to the server: names, ports, certificates, clocks, and who is let in."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from fedpatchcore.deploy import network
from fedpatchcore.deploy.certs import make_authority
from fedpatchcore.deploy.doctor.checks import Check, Checks
from fedpatchcore.deploy.doctor.way import clock
from fedpatchcore.deploy.network import Address, Port
from fedpatchcore.errors import ConfigError
from fedpatchcore.runs.launch import free_port
from tests.support.webserver import dated, web_server


def shake(port: int, ca: Path | None, host: str = "127.0.0.1") -> tuple[Check, Port]:
    """What the TLS check says of a port."""
    one = Port(Address(host, port), ca)
    assert one.tcp().state == "ok"
    return Checks().run("TLS", one.tls), one


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
