"""A station of its own process with a small bank of filters, for as many images as are asked for.

Images of one content each fall in batches, ``taken = "delete"``, retention by size. Each tenth:
resident memory, open files, threads, size of the state. `station.py --soak` asks for it.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.runs.launch import free_port
from fedpatchcore.station.place import Place
from fedpatchcore.station.queue import Queue


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
                (beside / f"{at:07d}.png").write_bytes(marked(data, at))
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


def marked(data: bytes, number: int) -> bytes:
    """The same picture as a file of its own: with a comment before its end."""
    body = b"tEXt" + b"Comment\0" + str(number).encode()
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return data[:-12] + chunk + data[-12:]
