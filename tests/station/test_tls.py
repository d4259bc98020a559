"""TLS at a station: with a certificate of the plant's CA in, without one out."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from fedpatchcore.deploy.certs import make_authority, make_server
from fedpatchcore.errors import ConfigError, StationError
from fedpatchcore.runs.launch import free_port
from fedpatchcore.station.client import Client
from fedpatchcore.station.running import run_station
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.station import Station
from fedpatchcore.web.serving import CONSOLE
from tests.support.products import picture
from tests.support.stations import encoded, fitted
from tests.support.tls import camera_of


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make_authority(folder)
    make_server(folder, ["line-1.plant"])
    return folder


def settings_of(tmp: Path, pki: Path, **told: str) -> StationSettings:
    own = {"certfile": str(pki / "server" / "server.crt")}
    own |= {"keyfile": str(pki / "server" / "server.key")}
    given = {"station": "line-1", "bank": str(fitted()[1]), "state": str(tmp / "state")}
    given |= {
        "product": "plate",
        "device": "cpu",
        "listen": f"127.0.0.1:{free_port()}",
        "drift": False,
    }
    return StationSettings.parse(given | own | told, where="test")


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Runs a station as it is run, in a thread → it, and its address."""
    servers: list[uvicorn.Server] = []
    threads: list[threading.Thread] = []

    class Server(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(uvicorn, "Server", Server)

    def run(settings: StationSettings) -> tuple[Station, str]:
        said, begun = [], []
        threads.append(
            threading.Thread(target=run_station, args=(settings, said.append, begun.append))
        )
        threads[-1].start()
        end = time.monotonic() + 60
        while not begun or not servers or not servers[-1].started:
            assert threads[-1].is_alive() and time.monotonic() < end
            time.sleep(0.02)
        (line,) = (one for one in said if "pages and HTTP on" in one)
        return begun[0], line.split("pages and HTTP on ")[1].rstrip("/")

    yield run
    for server in servers:
        server.should_exit = True
    for thread in threads:
        thread.join(30)


def ask(url: str, data: bytes, key: str = "", **how: object) -> dict:
    with Client(url, key, **how) as station:
        return station.inspect(data, name="a")


def test_with_a_certificate_in_without_one_out(
    serve: Callable, tmp_path: Path, pki: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ca = str(pki / "ca" / "ca.crt")
    station, url = serve(settings_of(tmp_path, pki, **{"client-ca": ca}))
    assert url.startswith("https://127.0.0.1:")
    trust = ssl.create_default_context(cafile=ca)
    data = encoded(picture(700, defect=True))
    with pytest.raises(StationError, match="does not answer"):
        ask(url, data, verify=trust)
    foreign = tmp_path_factory.mktemp("foreign")
    make_authority(foreign)  # of the same name, and another key
    trust = ssl.create_default_context(cafile=ca)
    trust.load_cert_chain(*camera_of(foreign, "thief"))
    with pytest.raises(StationError, match="does not answer"):
        ask(url, data, verify=trust)
    with pytest.raises(httpx.HTTPError):
        httpx.get(url.replace("https:", "http:"))
    assert station.arrivals.waiting() == 0 and station.queue.counts()["defect"] == 0
    trust = ssl.create_default_context(cafile=ca)
    trust.load_cert_chain(*camera_of(pki, "camera-1"))
    told = ask(url, data, verify=trust)
    assert told["verdict"] == "defect"
    with httpx.Client(base_url=url, verify=trust) as caller:
        assert caller.get(f"/v1/inspections/{told['id']}").status_code == 200
        assert caller.get("/history").status_code == 403  # no more than a camera may
        key = station.place.people.make_token(CONSOLE, "mes", "viewer", "", 1)
        more = {"authorization": f"Bearer {key}"}
        assert caller.get("/history", headers=more).status_code == 200
        more = {"authorization": "Bearer nobody's"}
        assert caller.get("/v1/inspections", headers=more).status_code == 401


def test_without_client_ca_a_key_comes_in_over_tls_and_nobody_else(
    serve: Callable, tmp_path: Path, pki: Path
) -> None:
    station, url = serve(settings_of(tmp_path, pki))
    trust = ssl.create_default_context(cafile=str(pki / "ca" / "ca.crt"))
    key = station.place.people.make_token(CONSOLE, "camera-1", "camera", "", 1)
    data = encoded(picture(1))
    assert ask(url, data, key, verify=trust)["verdict"] == "ok"
    with pytest.raises(StationError, match="log in first"):
        ask(url, data, verify=trust)


@pytest.mark.parametrize("broken", ["certfile", "keyfile", "client-ca"])
def test_files_that_tls_cannot_be_served_with_are_named_before_it_begins(
    tmp_path: Path, pki: Path, broken: str
) -> None:
    (tmp_path / "broken.pem").write_text("no PEM")
    told = {"client-ca": str(pki / "ca" / "ca.crt")} | {broken: str(tmp_path / "broken.pem")}
    begun: list[Station] = []
    with pytest.raises(ConfigError, match=r"broken\.pem"):
        run_station(settings_of(tmp_path, pki, **told), lambda line: None, begun.append)
    assert not begun


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, pki: Path) -> None:
    told = {"keyfile": camera_of(pki, "other")[1]}
    with pytest.raises(ConfigError, match="belong together"):
        run_station(settings_of(tmp_path, pki, **told), lambda line: None)


def test_where_others_reach_it_the_stations_own_words_are_told(tmp_path: Path, pki: Path) -> None:
    told = {"certfile": "", "keyfile": "", "listen": f"0.0.0.0:{free_port()}"}
    with pytest.raises(ConfigError, match="certfile and keyfile in the station's file"):
        run_station(settings_of(tmp_path, pki, **told), lambda line: None)
    told = {"certfile": "", "keyfile": "", "client-ca": "ca.crt"}
    with pytest.raises(ConfigError, match="client-ca takes a certificate"):
        settings_of(tmp_path, pki, **told)
