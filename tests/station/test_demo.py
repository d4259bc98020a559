"""The demo's line: parts from a seed, whole before they are seen, judged with their why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.station.demo import FIRST, Line, training_copy
from fedpatchcore.station.station import Station
from tests.support.products import write_product
from tests.support.stations import fitted, rows_of


def test_parts_are_the_same_from_a_seed_and_some_are_defective(tmp_path: Path) -> None:
    write_product(tmp_path / "data" / "plate", train=1)
    products = discover(tmp_path / "data" / "plate")
    (name,) = products
    told = []
    for at in range(2):
        line = Line(products, tmp_path / f"in{at}", seed=3)
        files = [line.drop() for _ in range(60)]
        assert [one.parent.name for one in files] == [name] * 60 and len(set(files)) == 60
        told.append([one.read_bytes() for one in files])
    assert told[0] == told[1]
    bad = {one.path.read_bytes() for one in products[name].test if one.anomalous}
    assert 5 <= sum(one in bad for one in told[0]) <= 25
    assert Line(products, tmp_path / "in0").drop().name == "part-00061.png"  # it goes on


def test_a_part_that_is_stopped_says_why(make: Callable[..., Station], tmp_path: Path) -> None:
    products = discover(fitted()[0])
    training_copy(products, tmp_path / "own")
    training_copy(products, tmp_path / "own")  # what is there stays
    station = make(training=str(tmp_path / "own"))
    station.start()
    line = Line(products, tmp_path / "in")
    thread = threading.Thread(target=line.run, args=(station, 60.0))
    thread.start()
    end = time.monotonic() + 60
    while time.monotonic() < end and sum(r.state == "judged" for r in rows_of(station.place)) < 24:
        time.sleep(0.1)
    station.stop.set()
    thread.join(10)
    rows = rows_of(station.place)
    assert len(rows) == FIRST and {one.state for one in rows} == {"judged"}
    stopped = [one for one in rows if one.verdict == "defect"]
    assert stopped and all(one.why for one in stopped)
