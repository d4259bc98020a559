"""A real MQTT broker: verdicts arrive; one that goes away, hangs and comes back loses none.

make test-station
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import func, select

from fedpatchcore.deploy.certs import make_authority, make_server
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Outgoing
from tests.support.stations import drop, make_station, rows_of, stepped

pytest.importorskip("aiomqtt", reason="needs the extra 'mqtt'")
paho = pytest.importorskip("paho.mqtt.client")
PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        PROGRAM is None, reason="no broker is installed (Debian: apt-get install mosquitto)"
    ),
]
TOPIC = "fedpatchcore/verdicts"


class Mosquitto:
    """A broker that can be killed, stopped and started again; and one who listens to it."""

    def __init__(self, tmp: Path, *more: str) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.file, self.process = tmp / "mosquitto.conf", None
        lines = [f"listener {self.port} 127.0.0.1", *(more or ["allow_anonymous true"])]
        self.file.write_text("".join(f"{one}\n" for one in lines))
        self.told: list[dict] = []
        self.heard, self._listener = threading.Event(), None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, "-c", self.file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.port), 1)):
                return
            time.sleep(0.05)
        pytest.fail("the broker does not come up")

    def listen(self, identifier: str = "") -> None:
        """Somebody subscribes, and again whenever the broker was away; one with a name is kept
        what came meanwhile.

        He has a message before he says so to the broker. (Not so aiomqtt: it says so for him, and
        if the connection ends before he has subscribed again, what it holds is lost.)
        """
        one = paho.Client(
            paho.CallbackAPIVersion.VERSION2, identifier, clean_session=not identifier
        )
        one.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)
        one.on_subscribe = lambda *_: self.heard.set()
        one.on_disconnect = lambda *_: self.heard.clear()
        one.on_message = lambda client, _, message: self.told.append(json.loads(message.payload))
        one.reconnect_delay_set(0.05, 0.05)
        one.connect_async("127.0.0.1", self.port)
        one.loop_start()
        self._listener = one
        assert self.heard.wait(60)

    def ids(self) -> set[int]:
        return {one["id"] for one in self.told}

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            if how == signal.SIGKILL:
                self.process.wait(30)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.loop_stop()
        self.kill()


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    made: list[Mosquitto] = []

    def one(*more: str) -> Mosquitto:
        made.append(Mosquitto(tmp_path, *more))
        made[-1].start()
        return made[-1]

    yield one
    for broker in made:
        broker.close()


@pytest.fixture
def stations(tmp_path: Path) -> Iterator[Callable[..., Station]]:
    """Stations that send by themselves, and judge when they are told to."""
    made: list[Station] = []

    def one(**told: object) -> Station:
        station = make_station(tmp_path, **told)
        stepped(station)
        station._begin("send", station.sender.run)
        made.append(station)
        return station

    yield one
    for station in made:
        station.close()


def judge(station: Station, tmp: Path, count: int) -> None:
    """So many further parts."""
    first = len(rows_of(station.place))
    for at in range(first, first + count):
        drop(tmp, f"part-{at:04d}.png", at, defect=at % 3 == 0)
    station.watcher.look()
    while station.worker.one(station.worker.bench):
        pass


def waiting(station: Station) -> int:
    with station.place.database.read() as session:
        return session.scalar(select(func.count()).select_from(Outgoing))


def until(true: Callable[[], object], moves: Callable[[], object] = lambda: None) -> None:
    """Wait for it; where something ``moves``, no longer than 90 seconds without that."""
    before, end = moves(), time.monotonic() + 90
    while not true():
        if (now := moves()) != before:
            before, end = now, time.monotonic() + 90
        assert time.monotonic() < end
        time.sleep(0.05)


def sent(station: Station) -> None:
    """Wait until the broker has all messages."""
    until(lambda: not waiting(station), lambda: waiting(station))


def heard(broker: Mosquitto, count: int) -> None:
    """Wait until the listener has all messages of the first images."""
    until(lambda: broker.ids() == set(range(1, count + 1)), broker.ids)


def test_verdicts_arrive_and_a_broker_that_went_away_has_all_when_it_is_back(
    brokers, stations, tmp_path: Path
) -> None:
    broker = brokers()
    broker.listen()
    station = stations(mqtt=f"127.0.0.1:{broker.port}")
    judge(station, tmp_path, 5)
    sent(station)
    heard(broker, 5)
    rows = {one.id: one for one in rows_of(station.place)}
    for told in broker.told:
        row = rows[told["id"]]
        assert (told["verdict"], told["score"], told["station"]) == (
            row.verdict,
            row.score,
            "line-1",
        )
    assert [one["id"] for one in broker.told] == [1, 2, 3, 4, 5]  # each once, in order
    broker.kill()
    judge(station, tmp_path, 60)
    until(lambda: "mqtt: the broker" in station.sender.trouble)
    assert waiting(station) == 60 and "sending" in station.health()["trouble"]
    publishes, station.sender._broker = station.sender._broker, None
    until(lambda: not broker.heard.is_set())
    broker.start()
    assert broker.heard.wait(60)  # or what came before were lost: this broker keeps nothing
    station.sender._broker = publishes
    sent(station)
    assert station.sender.trouble == ""
    heard(broker, 65)


def test_killed_in_mid_stream_again_and_again(brokers, stations, tmp_path: Path) -> None:
    """The broker keeps what it took: what were lacking then, the station had lost."""
    kept = f"persistence true\npersistence_location {tmp_path}/\nautosave_interval 1"
    broker = brokers("allow_anonymous true", kept, "autosave_on_changes true")
    broker.listen("mes")
    station = stations(mqtt=f"127.0.0.1:{broker.port}")
    for _ in range(4):
        judge(station, tmp_path, 30)
        time.sleep(0.05)
        broker.kill(signal.SIGTERM)
        broker.process.wait(30)
        broker.start()
    sent(station)
    heard(broker, 120)


def test_a_broker_that_hangs_keeps_nothing_else_waiting(brokers, stations, tmp_path: Path) -> None:
    broker = brokers()
    broker.listen()
    station = stations(mqtt=f"127.0.0.1:{broker.port}", out=str(tmp_path / "out"))
    broker.kill(signal.SIGSTOP)
    judge(station, tmp_path, 30)
    until(lambda: len(list((tmp_path / "out").rglob("*.json"))) == 30)
    assert waiting(station) == 30  # messages to the broker, all of them
    broker.kill(signal.SIGCONT)
    sent(station)
    heard(broker, 30)


def test_memory_is_bounded_while_it_is_away(stations, tmp_path: Path) -> None:
    station = stations(mqtt="127.0.0.1:9")
    judge(station, tmp_path, 3)
    with station.place.database.write() as session:
        rows = [{"inspection_id": 1 + at % 3, "kind": "mqtt", "next_at": 0} for at in range(20_000)]
        session.execute(
            Outgoing.__table__.insert(), [one | {"tries": 0, "error": ""} for one in rows]
        )
    station.stop.set()  # now by hand
    station._threads[-1].join(30)
    tracemalloc.start()
    try:
        for _ in range(5):
            station.sender._again = 0.0
            assert station.sender.look() == 0
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert waiting(station) == 20_003


def test_by_name_and_password_over_tls(brokers, stations, tmp_path: Path) -> None:
    make_authority(tmp_path / "pki")
    own = make_server(tmp_path / "pki", ["127.0.0.1"])
    ca = tmp_path / "pki" / "ca" / "ca.crt"
    secret, table = tmp_path / "secret", tmp_path / "passwords"
    secret.write_text("a sentence of the broker\n")
    command = ["mosquitto_passwd", "-b", "-c", str(table), "line-1", secret.read_text().strip()]
    if shutil.which(command[0]) is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run(command, check=True)
    for file in (table, own / "server.key", own / "server.crt", ca):
        file.chmod(0o644)
    tls = [f"certfile {own}/server.crt", f"keyfile {own}/server.key"]
    broker = brokers("allow_anonymous false", f"password_file {table}", *tls, "user root")
    station = stations(
        mqtt=f"127.0.0.1:{broker.port}",
        **{"mqtt-user": "line-1", "mqtt-password": str(secret), "mqtt-ca": str(ca)},
    )
    judge(station, tmp_path, 2)
    sent(station)
    secret.write_text("another one\n")
    judge(station, tmp_path, 1)
    until(lambda: "mqtt: the broker" in station.sender.trouble)
    assert waiting(station) == 1
    secret.write_text("a sentence of the broker\n")
    sent(station)
