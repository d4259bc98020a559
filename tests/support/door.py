"""A real nginx of ours in front of a stand-in for the SuperLink that answers everything."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fedpatchcore.deploy import certs
from fedpatchcore.deploy.healthy import healthy
from fedpatchcore.deploy.proxy import nginx_configuration
from fedpatchcore.runs.launch import free_port
from tests.support.places import NGINX

__all__ = ["behind_a_proxy"]


class Everything(BaseHTTPRequestHandler):
    """Answers 200 to any path and notes it: what arrives here was let through."""

    protocol_version = "HTTP/1.1"

    def parse_request(self) -> bool:
        good = super().parse_request()
        self.server.lines.append(self.requestline)
        return good

    def do_POST(self) -> None:
        body = self._body()
        self.server.seen.append((self.path, len(body)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return found

    do_GET = do_PUT = do_DELETE = do_POST

    def log_message(self, *_: object) -> None: ...


@contextmanager
def behind_a_proxy(tmp_path: Path) -> Iterator[tuple[int, Path, ThreadingHTTPServer]]:
    """The proxy's port, the CA, and what stands behind it: ``seen`` are the paths and sizes that
    were let through, ``lines`` every request line that arrived there, well formed or not."""
    certs.make_authority(tmp_path)
    own = certs.make_server(tmp_path, ["127.0.0.1"])
    behind = ThreadingHTTPServer(("127.0.0.1", 0), Everything)
    behind.seen, behind.lines = [], []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own / "server.crt", own / "server.key")
    behind.socket = context.wrap_socket(behind.socket, server_side=True)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    port = free_port()
    (tmp_path / "scratch").mkdir()
    file = tmp_path / "nginx.conf"
    file.write_text(
        nginx_configuration(
            own,
            listen=f"127.0.0.1:{port}",
            superlink=f"127.0.0.1:{behind.server_address[1]}",
            scratch=tmp_path / "scratch",
            access_log=str(tmp_path / "refused.log"),
        )
    )
    process = subprocess.Popen([NGINX, "-c", str(file)], stderr=subprocess.DEVNULL)
    try:
        ca = tmp_path / "ca" / "ca.crt"
        end = time.monotonic() + 20
        while not healthy(f"https://127.0.0.1:{port}/health", str(ca)):
            assert time.monotonic() < end, "nginx did not start"
            time.sleep(0.1)
        yield port, ca, behind
    finally:
        process.terminate()
        process.wait(10)
        behind.shutdown()
        behind.server_close()
