"""Tricks of paths, methods, versions and framing at the real proxy: only Fleet calls arrive.

What stands behind answers everything and notes every request line, so whatever gets through shows.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import ssl
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from fedpatchcore.deploy.proxy import FLEET_CALLS
from tests.hosts.network import missing
from tests.support.door import behind_a_proxy
from tests.support.places import NGINX

FLEET = "/v1/fleet/pull-messages"
TARGETS = (
    "control/list-runs",
    "control/start-run",
    "runtime/pull-task-input",
    "fleet/register-node",
)
PATHS = (
    *(
        "/v1/{}",
        "//v1/{}",
        "/v1//{}",
        "/./v1/{}",
        "/v1/./{}",
        "/V1/{}",
        "/v1/{}/",
        "/v1/{}?",
        "/v1/{}#",
    ),
    *(
        "/v1/{};x",
        "/v1/{}%20",
        "/v1/{}%00",
        "/v1/{}%0a",
        "/v1/{}%23",
        "/v1/{}%3f",
        "\\v1\\{}",
        "/v1%2f{}",
    ),
    *(
        "/%76%31/{}",
        "/v1/fleet/../{}",
        "/v1/fleet/%2e%2e/{}",
        "/v1/fleet/.%2e/{}",
        "/v1/fleet/..%2f{}",
    ),
    *("/v1/fleet/%2e%2e%2f{}", "/v1/fleet/..%5c{}", "/v1/fleet/..\\{}", "/v1/fleet/..;/{}"),
    *(
        "/v1/fleet/%252e%252e/{}",
        "/v1/fleet/..%252f{}",
        "/v1/fleet/%c0%ae%c0%ae/{}",
        "/v1/fleet/..%c0%af{}",
    ),
    *(
        "/v1/fleet/%uff0e%uff0e/{}",
        "/v1/fleet/pull-messages/../../{}",
        "/v1/fleet/pull-messages%2f..%2f..%2f{}",
    ),
    *(
        "/v1/fleet/pull-messages?/../../{}",
        "/v1/fleet/pull-messages#/../../{}",
        "/v1/fleet/pull-messages;/../../{}",
    ),
    *(
        "/v1/fleet/pull-messages%00/../../{}",
        "/v1/fleet/pull-messages%3f/../../{}",
        "/v1/fleet/pull-messages /v1/{}",
    ),
    *("/v1/fleet/pull-messages%20HTTP/1.1%0d%0aX:%20/v1/{}", "/v1/fleet/pull-messages\t/v1/{}"),
    *(
        "https://superlink/v1/{}",
        "http://superlink/v1/{}",
        "https://superlink:8000/v1/{}",
        "superlink/v1/{}",
    ),
    *(
        "http://x@superlink/v1/{}",
        "///superlink/v1/{}",
        "/health/../v1/{}",
        "/health/%2e%2e/v1/{}",
        "*",
        "/v1/{}\x00",
    ),
    *("/v1/{}\x0b", "/v1/\xe9/../{}", "/v1/fleet/\xff/../../{}"),
)
# with these the call itself is one that is passed on, if it stands so in the request line
METHODS = (
    *(
        "GET",
        "HEAD",
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "PRI",
        "post",
        "Post",
    ),
    *(
        "POSTX",
        "GPOST",
        "POST\t",
        "\tPOST",
        "PO ST",
        "MKCOL",
        "PROPFIND",
        "POST\x00",
        "",
        "POST\x0b",
    ),
)
VERSIONS = (
    "",
    " HTTP/0.9",
    " HTTP/1.2",
    " HTTP/2.0",
    " HTTP/3",
    " HTTP/1.1x",
    " http/1.1",
    " HTTP/11",
    " X/1.1",
)
HEADERS = (
    *(
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Path",
        "X-Forwarded-Prefix",
        "X-Override-URL",
    ),
    *("Referer", "X-HTTP-Method-Override", "X-Original-Method", "Destination", "X-Accel-Redirect"),
)

CONTROL = b"POST /v1/control/list-runs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


def framed(*headers: bytes, body: bytes, line: bytes = b"\r\n") -> bytes:
    head = [b"POST " + FLEET.encode() + b" HTTP/1.1", b"Host: x", *headers, b"", b""]
    return line.join(head) + body


CODED, EMPTY = b"Transfer-Encoding: chunked", b"Content-Length: 0"
LONG = b"%d" % len(b"0\r\n\r\n" + CONTROL)
SMUGGLED = {
    "CL.TE": framed(b"Content-Length: " + LONG, CODED, body=b"0\r\n\r\n" + CONTROL),
    "TE.CL": framed(b"Content-Length: 4", CODED, body=chunked(CONTROL)),
    "two lengths": framed(b"Content-Length: 0", b"Content-Length: " + LONG, body=CONTROL),
    "a list of lengths": framed(b"Content-Length: 0, " + LONG, body=CONTROL),
    "a signed length": framed(b"Content-Length: +0", body=CONTROL),
    "a negative length": framed(b"Content-Length: -1", body=CONTROL),
    "a length in hex": framed(b"Content-Length: 0x0", body=CONTROL),
    "a space before the colon": framed(b"Content-Length : 0", body=CONTROL),
    "an unknown coding": framed(b"Transfer-Encoding: xchunked", b"Content-Length: 0", body=CONTROL),
    "two codings": framed(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + CONTROL),
    "a tab in the coding": framed(b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n" + CONTROL),
    "a folded header": framed(b"Transfer-Encoding:\r\n chunked", EMPTY, body=CONTROL),
    "a header in a header": framed(b"X: y\r" + CODED, EMPTY, body=CONTROL),
    "lines of LF": framed(b"Content-Length: 0", body=CONTROL, line=b"\n"),
    "a chunk that overflows": framed(
        b"Transfer-Encoding: chunked", body=b"10000000000000000\r\n" + CONTROL + b"0\r\n\r\n"
    ),
    "a chunk's extension": framed(
        b"Transfer-Encoding: chunked", body=b"0;x=\n" + CONTROL + b"\r\n\r\n"
    ),
    "trailers": framed(
        b"Transfer-Encoding: chunked", body=b"0\r\nContent-Length: 5\r\n\r\n" + CONTROL
    ),
    "one after the other": framed(b"Content-Length: 0", body=CONTROL),
    "an upgrade": framed(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", EMPTY, body=CONTROL,
    ),
    "an expectation": framed(b"Expect: 100-continue", b"Content-Length: 0", body=CONTROL),
    "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + CONTROL,
}  # fmt: skip


@pytest.fixture(scope="module")
def door(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[int, Path, ThreadingHTTPServer]]:
    if NGINX is None:
        pytest.skip(missing("nginx", "tcpdump"))
    with behind_a_proxy(tmp_path_factory.mktemp("door")) as made:
        yield made


def say(door: tuple[int, Path, ThreadingHTTPServer], words: bytes) -> bytes:
    """Send bytes as they are; all that comes back until the proxy closes or falls silent."""
    port, ca, _ = door
    context = ssl.create_default_context(cafile=str(ca))
    found = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.settimeout(1.0)
        try:
            tls.sendall(words)
            while got := tls.recv(65536):
                found += got
        except (TimeoutError, OSError):
            pass
    return found


def status(answer: bytes) -> int:
    words = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") else 0


def only_fleet_calls(behind: ThreadingHTTPServer) -> None:
    """Every request line that arrived is a POST of a call that is passed on, as it is written."""
    good = {f"POST /v1/fleet/{call} HTTP/1.1" for call in FLEET_CALLS}
    assert set(behind.lines) <= good, set(behind.lines) - good


def request(method: str, path: str, version: str = " HTTP/1.1", *more: str) -> bytes:
    head = [f"{method} {path}{version}", "Host: x", "Content-Length: 0", "Connection: close", *more]
    return ("\r\n".join([*head, "", ""])).encode("latin-1")


def test_no_path_leads_elsewhere(door) -> None:
    tried = 0
    for target, path in itertools.product(TARGETS, PATHS):
        answer = status(say(door, request("POST", path.format(target))))
        assert answer in (0, 400, 403, 404, 405, 414), (path, target, answer)
        tried += 1
    only_fleet_calls(door[2])
    assert not door[2].lines
    assert tried > 200


def test_no_method_and_no_version_but_one(door) -> None:
    before = len(door[2].lines)
    for method, path in itertools.product(METHODS, (FLEET, "/v1/control/list-runs")):
        assert status(say(door, request(method, path))) in (0, 400, 403, 404, 405, 501), method
    for version in VERSIONS:
        for path in (FLEET, "/v1/control/list-runs"):
            answer = say(door, request("POST", path, version))
            assert b"control" not in answer
    only_fleet_calls(door[2])
    for line in door[2].lines[before:]:
        assert line == f"POST {FLEET} HTTP/1.1"


def test_no_header_changes_the_path_or_the_method(door) -> None:
    for name, target in itertools.product(HEADERS, TARGETS):
        told = f"{name}: /v1/{target}"
        assert status(say(door, request("POST", FLEET, " HTTP/1.1", told))) == 200
        assert (
            status(say(door, request("POST", f"/v1/{target}", " HTTP/1.1", f"{name}: {FLEET}")))
            == 404
        )
    for host in ("superlink", "127.0.0.1:8000", "x\x00y", "../../v1/control", "a b", ""):
        say(door, request("POST", FLEET, " HTTP/1.1", f"Host: {host}"))
    only_fleet_calls(door[2])


@pytest.mark.parametrize("name", SMUGGLED)
def test_no_request_hides_in_another(name: str, door) -> None:
    """And the next one on the connection to the SuperLink is answered as its own."""
    say(door, SMUGGLED[name])
    assert status(say(door, request("POST", FLEET))) == 200
    only_fleet_calls(door[2])


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    monkeypatch.setattr(Path, "exists", lambda path: False)
    told = missing("nginx", "tcpdump")
    assert "not installed: ip, tc, iptables, nginx, tcpdump" in told
    assert "apt-get install iproute2 iptables nginx-light tcpdump" in told
