"""A click back to the bank before: it holds until somebody, or a third bank, ends it."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import FedPatchCoreError, StationError
from fedpatchcore.station.asking import state_of
from fedpatchcore.station.station import Station
from fedpatchcore.web.audit import Actor
from tests.support.stations import drop, fitted, logged_in, make_station, rows_of, stepped

ANNA = Actor("anna")


def bank(times: float, folder: Path, **more: object) -> Path:
    """The fitted bank with thresholds so many times as high."""
    one = MemoryBank.load(fitted()[1])
    raised = {k: {s: times * v for s, v in own.items()} for k, own in one.thresholds.items()}
    file = folder / f"x{times:g}.safetensors"
    replace(one, thresholds=raised, **more).save(file)
    return file


def in_use(station: Station) -> str:
    return station.banks.in_use().digest[:8]


@pytest.fixture
def two(make: Callable[..., Station], tmp_path: Path) -> tuple[Station, Path, str, str]:
    """A station that judges by its second bank."""
    file = tmp_path / "bank.safetensors"
    shutil.copy(bank(1.0, tmp_path), file)
    station = make(bank=str(file))
    station.switch.begin()
    station.worker.bench, first = station.worker._next, in_use(station)
    shutil.copy(bank(1000.0, tmp_path), file)
    assert station.switch.renew(station.worker.bench)
    station.worker.bench = station.worker._next
    return station, file, first, in_use(station)


def test_back_and_forth_by_a_person_and_each_verdict_is_its_banks(two, tmp_path: Path) -> None:
    station, _, first, second = two
    for at, (act, verdict) in enumerate(
        [
            (lambda: None, "ok"),
            (lambda: station.switch.go_back(ANNA, "stops nothing"), "defect"),
            (lambda: station.switch.take_newer(ANNA), "ok"),
        ]
    ):
        act()
        station.worker.bench = station.worker._next or station.worker.bench
        drop(tmp_path, f"{at}.png", 700, defect=True)
        station.watcher.look()
        station.worker.one(station.worker.bench)
        assert rows_of(station.place)[at].verdict == verdict
    assert [one.digest[:8] for one in station.banks.used()] == [second, first, second, first]
    assert [one.who for one in station.banks.used()] == ["anna", "anna", "station", "station"]
    assert station.banks.held() is None
    trail = "\n".join(station.place.trail.lines())
    assert "bank.back" in trail and "stops nothing" in trail
    station.place.trail.verify()


def test_it_holds_over_a_restart_and_over_the_same_file_again(two, tmp_path: Path) -> None:
    station, file, first, second = two
    station.switch.go_back(ANNA, "why")
    file.touch()
    assert not station.switch.renew(station.worker.bench) and in_use(station) == first
    station.close()
    other = make_station(tmp_path, bank=str(file))
    other.switch.begin()
    assert in_use(other) == first and other.banks.held().left_digest[:8] == second
    assert other.health()["went_back"] == "anna" == state_of(other.settings)["went_back"]
    other.close()


def test_a_third_bank_ends_it_and_one_that_is_no_good_does_not(two, tmp_path: Path) -> None:
    station, file, first, _ = two
    station.switch.go_back(ANNA, "why")
    file.write_bytes(b"no bank" * 99)
    assert not station.switch.renew(station.worker.bench) and "bank" in station.switch.refused
    assert in_use(station) == first and station.banks.held() is not None
    shutil.copy(bank(3.0, tmp_path), file)
    assert station.switch.renew(station.worker.bench)
    assert station.banks.held() is None and in_use(station) != first
    assert station.banks.before().digest[:8] == first
    with pytest.raises(StationError, match="nobody went back"):
        station.switch.take_newer(ANNA)


def test_one_that_cannot_be_used_any_more_leaves_the_one_in_use(two) -> None:
    station, _, first, second = two
    file = next((station.place.folder / "banks").glob(f"{first}*"))
    file.write_bytes(file.read_bytes()[:999])
    with pytest.raises(FedPatchCoreError):
        station.switch.go_back(ANNA, "why")
    assert in_use(station) == second and station.banks.held() is None
    file.unlink()
    with pytest.raises(StationError, match="no bank before"):
        station.switch.go_back(ANNA, "why")


def test_people_do_it_on_the_page_by_their_role(two) -> None:
    station, _, first, second = two
    ivo, lea = logged_in(station, "ivo", "inspector"), logged_in(station, "lea", "lead")

    def post(caller, path: str, **form: str) -> int:
        csrf = re.search(r'name="csrf" value="([^"]+)"', caller.get("/history").text)[1]
        return caller.post(path, data={"csrf": csrf, **form}).status_code

    assert "Back to the bank before" not in ivo.get("/banks").text
    assert post(ivo, "/banks/back", why="x") == 403
    assert post(lea, "/banks/newer") == 400
    assert post(lea, "/banks/back") == 400 and in_use(station) == second  # without a reason
    assert post(lea, "/banks/back", why="x" * 501) == 400
    assert post(lea, "/banks/back", why="too <strict>") == 303 and in_use(station) == first
    text = ivo.get("/banks").text
    assert "lea went back to this bank" in text and "too &lt;strict&gt;" in text
    assert "went back" in ivo.get("/").text
    german = lea.get("/banks", headers={"accept-language": "de"}).text
    assert "Neuere Bank wieder nehmen" in german
    assert post(lea, "/banks/newer") == 303 and in_use(station) == second


@pytest.mark.parametrize("how", ["federated", "own", "hybrid", "hybrid without its own"])
def test_each_way_to_judge_has_its_own_threshold(make, tmp_path: Path, how: str) -> None:
    told = bank(1.0, tmp_path)
    both = {"beside": MemoryBank.load(told).section("plate").digest, "threshold": 0.123}
    hybrid = {} if how.endswith("its own") else {"hybrid": {"plate": both}}
    own = bank(5.0, tmp_path, **hybrid)
    way = how.partition(" ")[0]
    station = make(**{"bank": str(told), "own-bank": str(own), "judge-by": way})
    bench = stepped(station)
    drop(tmp_path, "a.png", 700)
    station.watcher.look()
    station.worker.one(bench)
    (row,) = rows_of(station.place)
    usual = MemoryBank.load(told).threshold("plate")
    wanted = {"federated": usual, "own": 5 * usual, "hybrid": 0.123}.get(how, usual)
    assert row.threshold == pytest.approx(wanted) and row.judged_by == way
    assert row.own == bench.own_digest != ""


def test_a_folder_is_a_place_for_a_bank_too(make, tmp_path: Path) -> None:
    (tmp_path / "banks").mkdir()
    shutil.copy(fitted()[1], tmp_path / "banks" / "plate.safetensors")
    station = make(bank=str(tmp_path / "banks"))
    station.switch.begin()
    assert station.banks.in_use() is not None


def test_forms_that_are_none_change_nothing_and_never_break(two) -> None:
    station, _, _, second = two
    lea = logged_in(station, "lea", "lead")
    csrf = re.search(r'name="csrf" value="([^"]+)"', lea.get("/history").text)[1]
    chance = random.Random(4)
    kinds = ("application/x-www-form-urlencoded", "application/json", "text/plain", "")
    paths = ("/banks/back", "/banks/newer", "/watch/1/mended", "/watch/1/usual", "/watch/-1/usual")
    paths += (f"/watch/{2**70}/mended", "/watch/1%00/usual")
    honest = f"csrf={csrf}&why=%00&note=x".encode()
    for at in range(60):
        body = bytearray(honest if at % 2 else json.dumps({"csrf": csrf, "why": [1]}).encode())
        for _ in range(chance.randrange(4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        told = {"content-type": kinds[at % len(kinds)]}
        answer = lea.post(paths[at % len(paths)], content=bytes(body), headers=told)
        assert 400 <= answer.status_code < 500, (at, answer.status_code)
    assert in_use(station) == second and station.banks.held() is None
    assert station.drift.alarms(ended=True) == []
