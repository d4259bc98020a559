"""Stations as they are run: how long a part waits for its verdict, by engine; parts a minute.

    python benchmarks/station.py [--images 200] [--at-once 200] [--networks NAMES] [--threads 2]
    python benchmarks/station.py --alone [--only openvino:bfloat16]  # beside its detector
    python benchmarks/station.py --soak 100000      # one station as a process: memory and files

*Latency*: banks of 10,000 rows, one station an engine (and precision that this processor has), all
in one process: parts fall into their folders by turns, so that what else the machine does falls on
all alike. *Verdict*: decode, features, search, map, regions, as the station itself tells it.
*Written*: from the moment at which the file lies there to that at which its verdict is in
the data base; the folder is looked at every 50 ms, and an image is safe on the disk (fsync) before
it is judged. *CPU*: the whole process's meanwhile, the median. *Images a minute*: so many fall at
once into one station, the others rest. wide_resnet50_2 has random weights, which cost the same.

*Alone*: one station lives at a time (``--only``: one engine, so one in the process). Each image
falls into it, then a detector with the same bank in the same process judges the same file: what of
the latency is the detector's, what the station's.

*Soak*: `station_soak`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from common import keep, measured_before, products, show, squeezenet
from engines import BANK, ways
from extraction import wide
from sqlalchemy import select
from station_soak import marked, soak

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.site.setup import use_threads
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Inspection

POLL = 0.05  # seconds
WARM = 5  # images a station sees before it is measured
LONGEST = 600.0  # seconds
FILES = 24  # images of a bank


class Measured:
    """A running station that says when each verdict is written."""

    def __init__(self, folder: Path, bank: Path, engine: str, weights: str) -> None:
        self.folder = folder
        self.moments: dict[str, float] = {}
        (folder / "in").mkdir(parents=True)
        told = {"station": folder.name, "state": str(folder / "state"), "bank": str(bank)}
        told |= {"watch": str(folder / "in"), "product": "part", "device": "cpu", "engine": engine}
        told |= {"weights": weights, "poll-seconds": POLL}
        self.station = Station(StationSettings.parse(told, where="benchmark"), lambda line: None)
        written = self.station.queue.judged

        def judged(job: Any, *how: Any) -> None:
            written(job, *how)
            self.moments[job.source] = time.perf_counter()

        self.station.queue.judged = judged
        self.station.start()

    def fall(self, name: str, data: bytes) -> tuple[float, float]:
        """One part → milliseconds until its verdict is written, clock and processor."""
        part = self.folder / f"{name}.part"
        part.write_bytes(data)
        begin, spent = time.perf_counter(), time.process_time()
        part.rename(self.folder / "in" / name)
        self.until([name], begin)
        return 1e3 * (self.moments[name] - begin), 1e3 * (time.process_time() - spent)

    def flood(self, parts: dict[str, bytes]) -> float:
        """Many parts at once → seconds until the last verdict is written."""
        beside = self.folder / "flood"
        beside.mkdir()
        for name, data in parts.items():
            (beside / name).write_bytes(data)
        begin = time.perf_counter()
        beside.rename(self.folder / "in" / "part")
        names = [f"part/{name}" for name in parts]
        self.until(names, begin)
        return max(self.moments[name] for name in names) - begin

    def until(self, names: Sequence[str], begin: float) -> None:
        """Wait until all have a verdict."""
        while any(name not in self.moments for name in names):
            if time.perf_counter() - begin > LONGEST:
                sys.exit(f"{self.folder.name}: no verdict in time: {self.station.health()}")
            time.sleep(0.002)

    def milliseconds(self, names: Iterable[str]) -> list[float]:
        """What the station itself tells of these images: decode to verdict with its map."""
        with self.station.place.database.read() as session:
            query = select(Inspection.source, Inspection.milliseconds)
            told = dict(session.execute(query).all())
        return [told[name] for name in names]


def contents(count: int) -> list[bytes]:
    """Image files, no two alike."""
    files = [one.read_bytes() for one in products("impeller")["impeller"].train[:FILES]]
    return [marked(files[at % FILES], at) for at in range(count)]


def banks(config: RunConfig, folder: Path, only: str = "") -> dict[tuple[str, str], Path]:
    """A bank for each engine and precision there is; those in float32 share one."""
    paths = list(products("impeller")["impeller"].train[:FILES])
    found: dict[tuple[str, str], Path] = {}
    for engine, precision in ways():
        if only not in ("", f"{engine}:{precision}"):
            continue
        file = folder / f"{'any' if precision == 'float32' else engine}-{precision}.safetensors"
        if not file.exists():
            told = {"engine": engine, "precision": precision}
            try:
                made = PatchCore(config.model_copy(update=told)).fit({"part": paths})
            except FedPatchCoreError as error:
                print(f"{engine}, {precision}: left out ({error})", flush=True)
                continue
            made.save(file)
        found[engine, precision] = file
    return found


def rows_of(config: RunConfig, images: int, at_once: int) -> list[dict[str, Any]]:
    """One row an engine."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder, stations = Path(name), {}
        try:
            for (engine, precision), bank in banks(config, folder).items():
                place = folder / f"{engine}-{precision}"
                try:
                    stations[engine, precision] = Measured(place, bank, engine, config.weights)
                except FedPatchCoreError as error:
                    print(f"{engine}, {precision}: left out ({error})", flush=True)
            parts = contents(WARM + images + at_once)
            taken: dict[tuple[str, str], list[tuple[float, float]]] = {way: [] for way in stations}
            for at, data in enumerate(parts[: WARM + images]):
                for way, one in stations.items():
                    taken[way].append(one.fall(f"{at:06d}.png", data))
            names = [f"{at:06d}.png" for at in range(WARM, WARM + images)]
            for (engine, precision), one in stations.items():
                flood = {f"{at:06d}.png": data for at, data in enumerate(parts[WARM + images :])}
                seconds = one.flood(flood)
                inner = one.milliseconds(names)
                outer, spent = zip(*taken[engine, precision][WARM:], strict=True)
                row = _named(config, engine, precision)
                row |= _shares(verdict=inner, written=outer)
                row["CPU ms"] = float(np.median(spent))
                rows.append(row | {"images a minute": 60 * at_once / seconds})
                print(rows[-1], flush=True)
        finally:
            for one in stations.values():
                one.station.close()
    return rows


def alone(config: RunConfig, images: int, only: str) -> list[dict[str, Any]]:
    """One row an engine, of a station that no other one lives beside."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for (engine, precision), bank in banks(config, folder, only).items():
            settings = config.model_copy(update={"engine": engine, "precision": precision})
            detector = PatchCore(settings).use(MemoryBank.load(bank))
            one = Measured(folder / f"{engine}-{precision}", bank, engine, config.weights)
            with closing(one.station):
                taken = [
                    (*one.fall(f"{at:06d}.png", data), *_judged(detector, folder, data))
                    for at, data in enumerate(contents(WARM + images))
                ]
                inner = one.milliseconds(f"{at:06d}.png" for at in range(WARM, WARM + images))
            outer, spent, plain, plainly = zip(*taken[WARM:], strict=True)
            row = _named(config, engine, precision)
            row |= _shares(detector=plain, verdict=inner, written=outer)
            row |= {"detector CPU ms": float(np.median(plainly)), "CPU ms": float(np.median(spent))}
            rows.append(row)
            print(row, flush=True)
    return rows


def _judged(detector: PatchCore, folder: Path, data: bytes) -> tuple[float, float]:
    """Milliseconds of a verdict with its map and regions, clock and processor."""
    file = folder / "part.png"
    file.write_bytes(data)
    begin, spent = time.perf_counter(), time.process_time()
    detector.predict(file)
    return 1e3 * (time.perf_counter() - begin), 1e3 * (time.process_time() - spent)


def _named(config: RunConfig, engine: str, precision: str) -> dict[str, Any]:
    return {"network": config.backbone, "engine": engine, "precision": precision}


def _shares(**found: Sequence[float]) -> dict[str, float]:
    return {
        f"{title} p{share} ms": float(np.percentile(values, share))
        for title, values in found.items()
        for share in (50, 95, 99)
    }


def main() -> None:
    """Latency and throughput by engine, or a soak."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=200, help="that fall one by one")
    parser.add_argument("--at-once", type=int, default=200, help="that fall at once")
    parser.add_argument("--networks", default="wide_resnet50_2,squeezenet1_1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="one station at a time")
    parser.add_argument("--only", default="", metavar="ENGINE:PRECISION", help="with --alone")
    parser.add_argument("--soak", type=int, default=0, metavar="IMAGES", help="instead: a soak")
    told = parser.parse_args()
    results = measured_before("station")
    if told.soak:
        results["soak"] = soak(told.soak)
        show("soak", results["soak"])
    else:
        title = f"alone {told.only}".strip() if told.alone else "engines"
        use_threads(told.threads)
        base = {"cache_gb": 0.0, "heatmaps": 0, "calibration": "holdout", "group_by": "none"}
        base |= {"coreset_size": BANK, "global_bank_size": BANK, "coreset": "random"}
        found: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            for config in (wide(Path(folder)), squeezenet(**base)):
                if config.backbone in told.networks.split(","):
                    config = config.model_copy(update=base)
                    found += (
                        alone(config, told.images, told.only)
                        if told.alone
                        else rows_of(config, told.images, told.at_once)
                    )
        results[title] = found
        show(f"stations by engine, {title}", found)
    keep("station", results)


if __name__ == "__main__":
    main()
