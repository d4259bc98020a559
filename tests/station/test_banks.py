"""A new bank is checked and warmed beside the one in use; one that is no good changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.station.station import Station
from tests.support.stations import drop, fitted, rows_of


def put(target: Path, bank: MemoryBank) -> None:
    bank.save(target)


def begun(make: Callable[..., Station], tmp_path: Path) -> tuple[Station, Path]:
    file = tmp_path / "bank.safetensors"
    shutil.copy(fitted()[1], file)
    station = make(bank=str(file))
    station.switch.begin()
    station.worker.bench = station.worker._next
    return station, file


def other_bank(times: float) -> MemoryBank:
    """The same rows, and thresholds so many times as high."""
    bank = MemoryBank.load(fitted()[1])
    raised = {k: {s: times * v for s, v in own.items()} for k, own in bank.thresholds.items()}
    return replace(bank, thresholds=raised)


def test_a_new_bank_judges_from_the_next_image_on(make, tmp_path: Path) -> None:
    station, file = begun(make, tmp_path)
    first = station.worker.bench
    drop(tmp_path, "a.png", 700, defect=True)
    station.watcher.look()
    station.worker.one(first)
    assert not station.switch.renew(first)  # nothing changed
    put(file, other_bank(1000.0))
    assert station.switch.renew(first)
    second = station.worker._next
    assert second.detector.backbone is first.detector.backbone  # one network in memory
    drop(tmp_path, "b.png", 700, defect=True)
    station.watcher.look()
    station.worker.one(second)
    one, two = rows_of(station.place)
    assert (one.verdict, two.verdict) == ("defect", "ok")
    assert one.bank != two.bank == second.digest
    assert [used.digest for used in station.banks.used()] == [two.bank, one.bank]
    for times in (2.0, 3.0):  # the last two are kept, and no more
        put(file, other_bank(times))
        assert station.switch.renew(station.worker._next or second)
    kept = {one.stem for one in (tmp_path / "state" / "banks").glob("*.safetensors")}
    assert kept == {used.digest for used in station.banks.used()[:2]}
    assert "bank.used" in "".join(station.place.trail.lines())


@pytest.mark.parametrize("how", ["cut", "foreign", "gone", "features"])
def test_a_bank_that_is_no_good_is_refused_by_name_and_the_old_one_goes_on(
    make, tmp_path: Path, how: str
) -> None:
    station, file = begun(make, tmp_path)
    bench, data = station.worker.bench, file.read_bytes()
    if how == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif how == "foreign":
        file.write_bytes(b"no bank" * 99)
    elif how == "gone":
        file.unlink()
    else:
        bank = other_bank(1.0)
        put(file, replace(bank, fingerprint=bank.fingerprint.model_copy(update={"recipe": 99})))
    assert not station.switch.renew(bench)
    assert bool(station.switch.refused) is (how != "gone")
    if station.switch.refused:
        assert (
            "\n" not in station.switch.refused
            and str(tmp_path / "state") not in station.switch.refused
        )
    drop(tmp_path, "a.png", 1)
    station.watcher.look()
    assert station.worker.one(bench) and rows_of(station.place)[0].state == "judged"
    assert station.health()["refused_bank"] == station.switch.refused


def test_without_any_bank_it_does_not_begin(make, tmp_path: Path) -> None:
    station = make(bank=str(tmp_path / "none.safetensors"))
    with pytest.raises(FedPatchCoreError, match=r"none\.safetensors"):
        station.start()
