"""What reaches a station's line from outside: answers of a broker, handshakes at its TLS port."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import uvicorn

from fedpatchcore.deploy.certs import make_authority, make_server
from fedpatchcore.errors import StationError
from fedpatchcore.station import broker
from fedpatchcore.station.application import application
from fedpatchcore.station.settings import StationSettings
from tests.hostile.doors import Door
from tests.hostile.mutation import mutated
from tests.support.stations import make_station
from tests.support.tls import camera_of

__all__ = ["LINE_DOORS"]

PATIENCE = 20.0  # seconds after which something hangs
EVERY = 20  # handshakes between two honest callers
CONNACK, PUBACK = b"\x20\x02\x00\x00", b"\x40\x02\x00\x01"


class Pretender:
    """A broker that answers what it is told to, then says no more."""

    def __init__(self) -> None:
        self.answer = b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with closing(peer), suppress(OSError):
                peer.settimeout(PATIENCE)
                first, rest = self.answer[: len(CONNACK)], self.answer[len(CONNACK) :]
                for part in (first, rest):
                    if not peer.recv(4096):
                        break
                    peer.sendall(part)
                else:
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass

    def close(self) -> None:
        self.socket.close()


def broker_door(tmp: Path) -> Door:
    """What a broker answers: a message counts as arrived only if it said so."""
    pretender = Pretender()
    told = {"station": "line-1", "mqtt": f"127.0.0.1:{pretender.port}"}
    sender = broker.Broker(StationSettings.parse(told, where="door"))
    before, broker.SECONDS = broker.SECONDS, 1.0

    def take(data: bytes) -> None:
        pretender.answer, arrived = data, []
        sender.publish([(7, b'{"verdict": "ok"}')], arrived.append)
        assert arrived == [7]

    def change(sample: bytes, chance: random.Random) -> bytes:
        return mutated(sample, chance) or b"\0"

    def close() -> None:
        broker.SECONDS = before
        pretender.close()

    return Door([CONNACK + PUBACK], change, take, close=close, few=12)


def hello(trust: ssl.SSLContext) -> bytes:
    """The first message of a caller's handshake."""
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        trust.wrap_bio(come, go, server_hostname="line-1.plant").do_handshake()
    return go.read()


def handshake_door(tmp: Path) -> Door:
    """Bytes at the port that asks for certificates: it ends the call, and honest ones come in."""
    make_authority(tmp / "pki")
    make_server(tmp / "pki", ["line-1.plant"])
    made = make_station(tmp, watch="", drift=False)
    server, ca = tmp / "pki" / "server", tmp / "pki" / "ca" / "ca.crt"
    config = uvicorn.Config(
        application(made, ("127.0.0.1",)),
        log_level="critical",
        access_log=False,
        ws="none",
        lifespan="off",
        ssl_certfile=server / "server.crt",
        ssl_keyfile=server / "server.key",
        ssl_ca_certs=str(ca),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    )
    port, running = socket.create_server(("127.0.0.1", 0)), uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [port]}, daemon=True)
    thread.start()
    address, counted = port.getsockname()[:2], [0]
    trust = ssl.create_default_context(cafile=ca)
    trust.load_cert_chain(*camera_of(tmp / "pki", "camera-1"))

    plain = b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    def honest() -> None:
        with (
            socket.create_connection(address, PATIENCE) as bare,
            trust.wrap_socket(bare, server_hostname="line-1.plant") as call,
        ):
            call.sendall(plain)
            assert call.recv(4096).startswith(b"HTTP/1.1 ")

    def take(data: bytes) -> None:
        counted[0] += 1
        if counted[0] % EVERY == 0:
            honest()
        answer = b""
        with socket.create_connection(address, PATIENCE) as call, suppress(ConnectionError):
            call.sendall(data)
            call.shutdown(socket.SHUT_WR)
            while part := call.recv(4096):
                answer += part
        assert not answer.startswith(b"HTTP"), "an answer without TLS"
        if answer[:1] != b"\x16":  # no ServerHello
            raise StationError(f"refused in the handshake ({answer[:7].hex()})")

    def close() -> None:
        running.should_exit = running.force_exit = True
        thread.join(PATIENCE)
        made.close()

    def change(sample: bytes, chance: random.Random) -> bytes:
        return mutated(plain if chance.random() < 0.1 else sample, chance)

    return Door([hello(trust)], change, take, close=close)


LINE_DOORS: dict[str, Callable[[Path], Door]] = {
    "broker's answers to a station": broker_door,
    "handshake at a station": handshake_door,
}
