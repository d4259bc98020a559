"""The door: a real nginx in front of a stand-in for the SuperLink that answers everything."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from fedpatchcore.deploy.proxy import FLEET_CALLS, nginx_configuration
from fedpatchcore.errors import ConfigError
from tests.support.door import behind_a_proxy
from tests.support.places import NGINX


@pytest.fixture
def door(tmp_path: Path) -> Iterator[tuple[int, Path, ThreadingHTTPServer]]:
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    with behind_a_proxy(tmp_path) as made:
        yield made


def ask(port: int, ca: Path, path: str, method: str = "POST", body: bytes = b"x") -> int:
    """The status for a path sent as it is, without any tidying by a client library."""
    context = ssl.create_default_context(cafile=str(ca))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_fleet_calls_pass_and_nothing_else(door) -> None:
    port, ca, behind = door
    for call in FLEET_CALLS:
        assert ask(port, ca, f"/v1/fleet/{call}") == 200
    passed = [path for path, _ in behind.seen]
    assert passed == [f"/v1/fleet/{call}" for call in FLEET_CALLS]
    refused = [
        "/",
        "/v1/control/list-runs",
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/pull-task-input",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/pull-messages?x=1",
        "/v1/fleet/pull-messages;x",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs",
        "/v1/fleet/..%2fcontrol/list-runs",
        "/v1/fleet/%252e%252e/control/list-runs",
        "/v1/control/../fleet/pull-messages",
        "/v1/control/%2e%2e/fleet/pull-messages",
        "//v1/control/list-runs",
        "/v1//fleet/pull-messages",
        "/V1/Control/list-runs",
        "/v1/fleet/pull-messages%0d%0aX:%20y",
        "/docs",
        "/openapi.json",
        "https://superlink/v1/control/list-runs",
    ]
    answers = {path: ask(port, ca, path) for path in refused}
    assert set(answers.values()) <= {400, 404}, answers
    assert ask(port, ca, "/v1/fleet/pull-messages", "GET") == 403
    assert ask(port, ca, "/v1/fleet/pull-messages", "DELETE") == 403
    assert ask(port, ca, "/health", "GET") == 200
    assert [path for path, _ in behind.seen] == passed


def test_large_objects_pass_and_never_touch_the_disk(door, tmp_path: Path) -> None:
    port, ca, behind = door
    body = bytes(20_000_000)
    assert ask(port, ca, "/v1/fleet/push-object", body=body) == 200
    assert behind.seen[-1] == ("/v1/fleet/push-object", len(body))
    assert not [
        p for p in (tmp_path / "scratch").rglob("*") if p.is_file() and p.name != "nginx.pid"
    ]
    assert ask(port, ca, "/v1/fleet/push-object", body=bytes(80_000_000)) == 413


def test_refused_requests_are_noted(door, tmp_path: Path) -> None:
    port, ca, _ = door
    ask(port, ca, "/v1/control/list-runs")
    ask(port, ca, "/v1/fleet/pull-messages")
    time.sleep(0.5)
    noted = (tmp_path / "refused.log").read_text()
    assert '127.0.0.1 404 "POST /v1/control/list-runs' in noted
    assert "pull-messages" not in noted


@pytest.mark.parametrize(
    "words",
    [{"listen": "8443"}, {"listen": "0.0.0.0:99999"}, {"superlink": "host"}, {"listen": "a b:1"}],
)
def test_what_nginx_would_not_take_is_refused(words: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        nginx_configuration(tmp_path, **{"scratch": tmp_path, **words})
    with pytest.raises(ConfigError, match="cannot stand in"):
        nginx_configuration(Path("/tmp/a;b"), scratch=tmp_path)
