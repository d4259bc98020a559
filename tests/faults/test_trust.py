"""Clocks, certificates and keys that are not as they must be; what a person at the site reads."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fedpatchcore.deploy import certs
from tests.faults.conftest import CONFIG
from tests.support.field import Field, until

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

pytestmark = pytest.mark.timeout(1800)


def hears(field: Field, site: str, *words: str, seconds: float = 150) -> None:
    """Wait until the site's log holds all these words."""
    until(
        lambda: all(w in field.log(site) for w in words),
        seconds,
        f"{site} did not hear {words}: {field.log(site)[-1500:]}",
    )


@pytest.fixture
def two(field: Field) -> Field:
    """A server with two good sites online."""
    field.start_server()
    field.register("north", "west")
    field.start_sites("north", "west")
    return field


def completes_without_south(field: Field, undisturbed) -> None:
    run = field.submit("run", {**CONFIG, "expected-sites": 2})
    assert field.wait(run) == "finished:completed"
    assert field.bank("run") == undisturbed(sites=("north", "west"))


def test_clock_two_hours_off(two: Field, undisturbed, row) -> None:
    """A site's clock two hours ahead."""
    if not Path(FAKETIME).exists():
        pytest.skip("libfaketime is not installed (Debian: apt-get install libfaketime)")
    two.register("south")
    two.keep_site("south", LD_PRELOAD=FAKETIME, FAKETIME="+2h")
    hears(two, "south", "✗ clock", "is not started")
    assert "south" not in two.online()
    completes_without_south(two, undisturbed)
    line = next(t for t in two.log("south").splitlines() if "✗ clock" in t)
    row(f"site says: {line.split('✗')[1].strip()[:120]}; the others' run is untouched")


def test_expired_certificate(two: Field, monkeypatch: pytest.MonkeyPatch, row) -> None:
    """The server's certificate has expired."""

    class Past(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=500)

    two.register("south")
    (two.pki / "server").rename(two.pki / "good")
    monkeypatch.setattr(certs, "datetime", Past)
    expired = certs.make_server(two.pki, ["127.0.0.1"])
    monkeypatch.undo()
    expired.rename(two.pki / "expired")
    (two.pki / "good").rename(two.pki / "server")
    two.kill("proxy")
    two.start_proxy(certificates=two.pki / "expired")
    two.keep_site("south")
    hears(two, "south", "✗ TLS", "expired")
    line = next(t for t in two.log("south").splitlines() if "✗ TLS" in t)
    refused = subprocess.run(
        [sys.executable, "-m", "fedpatchcore.cli", "serve", str(two.pki / "expired")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert refused.returncode == 2
    assert "has expired" in refused.stderr
    two.kill("proxy")
    two.start_proxy()
    until(lambda: "south" in two.online(), 120, "south did not come back by itself", every=3)
    row(f"site says: {line.split('✗')[1].strip()[:120]}; back by itself once renewed")


def test_wrong_ca(two: Field, tmp_path: Path, undisturbed, row) -> None:
    """A site trusts another CA."""
    certs.make_authority(tmp_path / "other")
    two.register("south")
    two.keep_site("south", ca=tmp_path / "other" / "ca" / "ca.crt")
    hears(two, "south", "✗ TLS", "is not started")
    completes_without_south(two, undisturbed)
    line = next(t for t in two.log("south").splitlines() if "✗ TLS" in t)
    row(f"site says: {line.split('✗')[1].strip()[:120]}")


def test_unregistered_key(two: Field, undisturbed, row) -> None:
    """A site whose key is not registered; registered later."""
    two.keep_site("south")
    hears(two, "south", "✗ registration", "is not started")
    line = next(t for t in two.log("south").splitlines() if "✗ registration" in t)
    two.register("south")
    until(lambda: "south" in two.online(), 120, "south did not start once registered", every=3)
    run = two.submit("run", CONFIG)
    assert two.wait(run) == "finished:completed"
    assert two.bank("run") == undisturbed()
    row(f"site says: {line.split('✗')[1].strip()[:120]}; starts by itself once registered")


def test_revoked_site(field: Field, undisturbed, row) -> None:
    """A site revoked while it is online."""
    field.start_server()
    field.register()
    field.start_sites("north", "west")
    field.keep_site("south")
    until(lambda: "south" in field.online(), 120, "south is not online", every=3)
    field.flwr("supernode", "unregister", field.ids["south"], check=True)
    hears(field, "south", "node of site south ended", "registration")
    completes_without_south(field, undisturbed)
    line = next(t for t in field.log("south").splitlines() if "south ended" in t)
    row(f"cut off at its next call; site says: {line.split('ended:')[1].strip()[:120]}")


def test_a_site_cannot_use_the_control_api(two: Field, row) -> None:
    """A site calls the Control API through the public door."""
    home = two.root / "intruder"
    home.mkdir()
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "door"\n[superlink.door]\n'
        f'address = "{two.public}"\nroot-certificates = "{two.pki / "ca" / "ca.crt"}"\n'
    )

    def registered() -> list[tuple[str, str]]:
        told = two.flwr("supernode", "list", "--format", "json")
        nodes = json.loads(told[told.index("{") :])["nodes"]
        return sorted((node["node-id"], node["status"]) for node in nodes)

    before = registered()
    key = two.pki / "sites" / "south" / "node.pub"
    told = {}
    for words in (["ls"], ["supernode", "register", str(key)], ["supernode", "list"]):
        done = subprocess.run(
            [str(Path(sys.executable).parent / "flwr"), *words, "--format", "json"],
            env={"PATH": "/usr/bin:/bin", "FLWR_HOME": str(home), "HOME": str(home)}
            | {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        told[" ".join(words[:2])] = done.stdout + done.stderr
        assert '"success": true' not in done.stdout
        assert '"nodes"' not in done.stdout
        assert '"runs"' not in done.stdout
    assert registered() == before
    refused = (two.root / "logs" / "refused.log").read_text()
    for call in ("list-runs", "register-node", "list-nodes"):
        assert f'404 "POST /v1/control/{call}' in refused
    row("404 for list, register, list nodes; nothing changed at the SuperLink")
