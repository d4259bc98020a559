"""Certificates and keys: what they say, who may read them, that nothing is overwritten."""

from __future__ import annotations

import ipaddress
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedpatchcore.deploy import certs
from fedpatchcore.deploy.healthy import healthy
from fedpatchcore.errors import CertificateError


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    certs.make_authority(tmp_path)
    certs.make_server(tmp_path, ["fed.example.com", "10.0.0.5", "fd00::5"])
    certs.make_site(tmp_path, "plant-a")
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_for_their_owner_alone(pki: Path) -> None:
    secret = ["ca/ca.key", "server/server.key", "server/superexec.secret", "sites/plant-a/node.key"]
    assert {name: oct(mode(pki / name)) for name in secret} == dict.fromkeys(secret, "0o600")
    assert mode(pki / "ca") == mode(pki / "server") == mode(pki / "sites/plant-a") == 0o700


def test_the_server_certificate_names_its_hosts_and_ends(pki: Path) -> None:
    made = certs.read_certificate(pki / "server" / "server.crt")
    assert made.names == (
        "fed.example.com",
        "10.0.0.5",
        str(ipaddress.ip_address("fd00::5")),
        "localhost",
        "127.0.0.1",
        "superlink",
    )
    assert certs.SERVER_DAYS - 1 < made.days_left() <= certs.SERVER_DAYS
    assert made.days_left(datetime.now(UTC) + timedelta(days=400)) < 0
    assert made.not_before < datetime.now(UTC) - timedelta(hours=23)  # for clocks that are behind
    authority = certs.read_certificate(pki / "ca" / "ca.crt")
    assert made.issuer == authority.subject
    assert authority.days_left() > 9 * 365


def test_a_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    certs.make_authority(tmp_path, days=100)
    made = certs.read_certificate(certs.make_server(tmp_path, ["a"]) / "server.crt")
    assert made.not_after <= certs.read_certificate(tmp_path / "ca" / "ca.crt").not_after


def test_a_node_key_is_what_flower_takes(pki: Path) -> None:
    own = pki / "sites" / "plant-a"
    private = load_ssh_private_key((own / "node.key").read_bytes(), None)
    assert private.curve.name == "secp384r1"
    public = load_ssh_public_key((own / "node.pub").read_bytes())
    assert public == private.public_key()
    assert (own / "node.pub").read_text().endswith(" plant-a\n")
    assert (own / "ca.crt").read_bytes() == (pki / "ca" / "ca.crt").read_bytes()


def test_nothing_is_overwritten(pki: Path) -> None:
    before = {p: p.read_bytes() for p in pki.rglob("*") if p.is_file()}
    for again in (
        lambda: certs.make_authority(pki),
        lambda: certs.make_server(pki, ["x"]),
        lambda: certs.make_site(pki, "plant-a"),
        lambda: certs.make_key(pki / "sites" / "plant-a", "plant-a"),
    ):
        with pytest.raises(CertificateError, match="exists and is not overwritten"):
            again()
    assert {p: p.read_bytes() for p in pki.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "host", ["https://a", "a:8443", "a b", "", "-a", "1.2.3", "a..b", "300.1.1.1"]
)
def test_what_is_no_host_is_refused(host: str, tmp_path: Path) -> None:
    certs.make_authority(tmp_path)
    with pytest.raises(CertificateError, match="neither a host name nor an IP address"):
        certs.make_server(tmp_path, [host])
    assert not (tmp_path / "server").exists()


@pytest.mark.parametrize("site", ["../x", "", ".hidden", "a/b", "a b", "x" * 64])
def test_what_is_no_site_name_is_refused(site: str, pki: Path) -> None:
    with pytest.raises(CertificateError, match="is no site name"):
        certs.make_site(pki, site)


def test_missing_and_damaged_files_are_told(pki: Path, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="certs init"):
        certs.make_server(tmp_path / "nowhere", ["a"])
    (pki / "server" / "server.crt").unlink()
    (pki / "server" / "server.key").unlink()
    (pki / "ca" / "ca.key").rename(pki / "kept.key")
    with pytest.raises(CertificateError, match="bring it back"):
        certs.make_server(pki, ["a"])
    (pki / "ca" / "ca.key").write_text("rubbish")
    with pytest.raises(CertificateError, match="no usable private key"):
        certs.make_server(pki, ["a"])
    certs.make_authority(pki / "other")
    (pki / "ca" / "ca.key").write_bytes((pki / "other" / "ca" / "ca.key").read_bytes())
    with pytest.raises(CertificateError, match="is not the key of"):
        certs.make_server(pki, ["a"])
    (pki / "ca" / "ca.crt").write_text("rubbish")
    with pytest.raises(CertificateError, match="no PEM certificate"):
        certs.read_certificate(pki / "ca" / "ca.crt")


def test_a_client_verifies_chain_and_name(pki: Path, tmp_path: Path) -> None:
    """A real TLS handshake against the CA; another CA and another name are refused."""

    class Ok(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server" / "server.crt", pki / "server" / "server.key")
    server = HTTPServer(("127.0.0.1", 0), Ok)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        port = server.server_address[1]
        certs.make_authority(tmp_path / "other")
        trusted = str(pki / "ca" / "ca.crt")
        assert healthy(f"https://127.0.0.1:{port}/", trusted)
        assert healthy(f"https://localhost:{port}/", trusted)
        assert not healthy(f"https://127.0.0.2:{port}/", trusted)
        assert not healthy(f"https://127.0.0.1:{port}/", str(tmp_path / "other/ca/ca.crt"))
    finally:
        server.shutdown()
        server.server_close()
