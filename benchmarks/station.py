"""Stations as they are run: how long a part waits for its verdict, by engine; parts a minute.

    python benchmarks/station.py [--images 200] [--at-once 200] [--networks NAMES] [--threads 2]
    python benchmarks/station.py --soak 100000      # one station as a process: memory and files

*Latency*: banks of 10,000 rows, one station an engine (and precision that this processor has), all
in one process: parts fall into their folders by turns, so that what else the machine does falls on
all alike. *Verdict*: decode, features, search, map, regions, as the station itself tells it.
*Fallen to written*: from the moment at which the file lies there to that at which its verdict is in
the data base; the folder is looked at every 50 ms, and an image is safe on the disk (fsync) before
it is judged. *CPU*: the whole process's meanwhile, the median. *Images a minute*: so many fall at
once into one station, the others rest. wide_resnet50_2 has random weights, which cost the same.

*Soak*: a station of its own process with a small bank of filters; images of one content each fall
in batches, ``taken = "delete"``, retention by size. Each tenth: resident memory, open files,
threads, size of the data base.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from common import keep, measured_before, products, show, squeezenet
from engines import BANK, ways
from extraction import wide
from PIL import Image
from sqlalchemy import select

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.runs.launch import free_port
from fedpatchcore.site.setup import use_threads
from fedpatchcore.station.place import Place
from fedpatchcore.station.queue import Queue
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
    return [_marked(files[at % FILES], at) for at in range(count)]


def banks(config: RunConfig, folder: Path) -> dict[tuple[str, str], Path]:
    """A bank for each engine and precision there is; those in float32 share one."""
    paths = list(products("impeller")["impeller"].train[:FILES])
    found: dict[tuple[str, str], Path] = {}
    for engine, precision in ways():
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
                row: dict[str, Any] = {"network": config.backbone, "engine": engine}
                row |= {"precision": precision}
                for title, found in (("verdict", inner), ("fallen to written", outer)):
                    for share in (50, 95, 99):
                        row[f"{title} p{share} ms"] = float(np.percentile(found, share))
                row["CPU ms"] = float(np.median(spent))
                rows.append(row | {"images a minute": 60 * at_once / seconds})
                print(rows[-1], flush=True)
        finally:
            for one in stations.values():
                one.station.close()
    return rows


def soak(images: int) -> list[dict[str, Any]]:
    """One row a tenth of so many images, of a station that is a process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = [_picture(at) for at in range(20)]
        good = folder / "good"
        good.mkdir()
        for at, data in enumerate(pictures):
            (good / f"{at}.png").write_bytes(data)
        config = RunConfig(backbone="filterbank", geometry="full", image_size=64)
        PatchCore(config).fit({"part": good}).save(folder / "bank.safetensors")
        (folder / "in").mkdir()
        told = {"station": "soak", "bank": str(folder / "bank.safetensors"), "product": "part"}
        told |= {"watch": str(folder / "in"), "state": str(folder / "state"), "taken": "delete"}
        told |= {"listen": f"127.0.0.1:{free_port()}", "device": "cpu"}
        text = "".join(f'{key} = "{value}"\n' for key, value in told.items())
        text += "poll-seconds = 0.1\nkeep-gb = 0.02\nthreads = 1\n"
        (folder / "station.toml").write_text(text)
        command = [sys.executable, "-m", "fedpatchcore.cli", "station", "run"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([*command, folder / "station.toml"], stdout=log)
        try:
            return _soaked(folder, process, pictures, images)
        finally:
            process.terminate()
            process.wait(60)


def _soaked(
    folder: Path, process: subprocess.Popen, pictures: list[bytes], images: int
) -> list[dict[str, Any]]:
    rows, batch, done, begin = [], 250, 0, 0.0
    while "pages and HTTP on" not in (folder / "log").read_text():
        if process.poll() is not None:
            sys.exit((folder / "log").read_text())
        time.sleep(0.1)
    place = Place.open(folder / "state")
    with closing(place):
        begin = time.perf_counter()
        while done < images:
            count = min(batch, images - done)
            beside = folder / "beside"
            beside.mkdir()
            for at in range(done, done + count):
                data = pictures[at % len(pictures)]
                (beside / f"{at:07d}.png").write_bytes(_marked(data, at))
            for file in sorted(beside.iterdir()):
                file.rename(folder / "in" / file.name)
            beside.rmdir()
            done += count
            while list((folder / "in").iterdir()) or Queue(place, ((), ())).counts()["waiting"]:
                if process.poll() is not None:
                    sys.exit((folder / "log").read_text())
                time.sleep(0.05)
            if done * 10 // images > (done - count) * 10 // images:
                rows.append({"images": done, **_state(folder, process.pid)})
                rows[-1]["images a minute"] = 60 * done / (time.perf_counter() - begin)
                print(rows[-1], flush=True)
    return rows


def _state(folder: Path, pid: int) -> dict[str, Any]:
    proc = Path(f"/proc/{pid}")
    status = (proc / "status").read_text()
    return {
        "MB resident": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1000,
        "open files": len(list((proc / "fd").iterdir())),
        "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
        "MB of state": sum(
            one.stat().st_size for one in (folder / "state").rglob("*") if one.is_file()
        )
        / 1e6,
    }


def _picture(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = np.clip(rng.normal(128, 12, (64, 64, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _marked(data: bytes, number: int) -> bytes:
    """The same picture as a file of its own: with a comment before its end."""
    body = b"tEXt" + b"Comment\0" + str(number).encode()
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return data[:-12] + chunk + data[-12:]


def main() -> None:
    """Latency and throughput by engine, or a soak."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=200, help="that fall one by one")
    parser.add_argument("--at-once", type=int, default=200, help="that fall at once")
    parser.add_argument("--networks", default="wide_resnet50_2,squeezenet1_1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--soak", type=int, default=0, metavar="IMAGES", help="instead: a soak")
    told = parser.parse_args()
    results = measured_before("station")
    if told.soak:
        results["soak"] = soak(told.soak)
        show("soak", results["soak"])
    else:
        use_threads(told.threads)
        base = {"cache_gb": 0.0, "heatmaps": 0, "calibration": "holdout", "group_by": "none"}
        base |= {"coreset_size": BANK, "global_bank_size": BANK, "coreset": "random"}
        found: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            for config in (wide(Path(folder)), squeezenet(**base)):
                if config.backbone in told.networks.split(","):
                    config = config.model_copy(update=base)
                    found += rows_of(config, told.images, told.at_once)
        results["engines"] = found
        show("stations by engine", found)
    keep("station", results)


if __name__ == "__main__":
    main()
