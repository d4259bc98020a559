"""The doctor at the server: certificate, public and private ports, the SuperLink's options."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.deploy.certs import make_authority
from fedpatchcore.deploy.doctor import server as doctor_server
from fedpatchcore.deploy.doctor.checks import Check, Checks
from fedpatchcore.deploy.doctor.server import ServerDoctor
from fedpatchcore.deploy.network import Address
from fedpatchcore.runs.launch import free_port
from tests.support.webserver import dated, web_server


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
