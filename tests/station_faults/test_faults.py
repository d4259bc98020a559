"""A station as a real process: killed, filled, locked, flooded; each image is judged once.

make test-station
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.stations import drop, fitted

pytestmark = pytest.mark.timeout(3600)


class Process:
    """One station process over ``tmp``."""

    def __init__(self, tmp: Path, **told: object) -> None:
        self.tmp, self.file = tmp, tmp / "station.toml"
        (tmp / "in").mkdir(exist_ok=True)
        given = {"station": "line-1", "bank": str(fitted()[1]), "watch": str(tmp / "in")}
        given |= {"state": str(tmp / "state"), "product": "plate", "listen": f"127.0.0.1:{_port()}"}
        given |= {"poll-seconds": 0.1, "device": "cpu", "threads": 1, **told}
        lines = (f"{key} = {_toml(value)}\n" for key, value in given.items())
        self.file.write_text("".join(lines))
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.log = (self.tmp / "log").open("w+")
        command = [sys.executable, "-m", "fedpatchcore.cli", "station", "run", str(self.file)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        self.until(lambda: "pages and HTTP on" in (self.tmp / "log").read_text(), patience=600)

    def until(
        self,
        true: Callable[[], bool],
        moves: Callable[[], object] = lambda: None,
        patience: float = 90,
    ) -> None:
        """Wait for it, no longer than so many seconds without that anything ``moves``."""
        before, end = moves(), time.monotonic() + patience
        while time.monotonic() < end and self.process.poll() is None:
            if true():
                return
            if (now := moves()) != before:
                before, end = now, time.monotonic() + patience
            time.sleep(0.05)
        pytest.fail((self.tmp / "log").read_text()[-2000:])

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)
        self.log.close()

    def rows(self) -> list[tuple]:
        with closing(sqlite3.connect(self.tmp / "state" / "station.db")) as file:
            return file.execute(
                "SELECT source, state, verdict, score, error FROM inspection ORDER BY id"
            ).fetchall()

    def settle(self, count: int) -> None:
        """Wait until so many images are there, and judged."""
        self.until(lambda: self.known() == (count, count), self.known)

    def known(self) -> tuple[int, int]:
        rows = self.rows()
        return len(rows), sum(row[1] != "waiting" for row in rows)


def _port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Makes processes; they end with the test."""
    found: list[Process] = []

    def one(**told: object) -> Process:
        found.append(Process(tmp_path, **told))
        return found[-1]

    yield one
    for process in found:
        process.kill()


def test_killed_again_and_again_each_image_has_one_verdict(made, tmp_path: Path) -> None:
    chance, station = random.Random(7), made()
    (tmp_path / "in").mkdir(exist_ok=True)
    count = 0
    for _ in range(6):
        for _ in range(25):
            drop(tmp_path, f"{count:04d}.png", count % 9, defect=count % 3 == 0)
            count += 1
        station.start()
        time.sleep(chance.uniform(0.0, 0.6))
        station.kill()
    station.start()
    station.settle(count)
    rows = station.rows()
    assert sorted(row[0] for row in rows) == [f"{at:04d}.png" for at in range(count)]
    assert all(row[1] == "judged" and row[3] > 0 for row in rows), rows
    scores: dict[tuple[int, bool], set[float]] = {}  # the same picture has the same score
    for name, _, _, score, _ in rows:
        at = int(name[:4])
        scores.setdefault((at % 9, at % 3 == 0), set()).add(score)
    assert all(len(one) == 1 for one in scores.values())


def test_a_thousand_at_once_are_all_judged_and_the_queue_is_told(made, tmp_path: Path) -> None:
    station = made()
    source = drop(tmp_path, "first.png", 1).read_bytes()
    for at in range(1000):
        (tmp_path / "in" / f"{at:04d}.png").write_bytes(source + bytes([at % 256, at // 256]))
    station.start()
    station.settle(1001)
    assert len({row[0] for row in station.rows()}) == 1001


def test_it_goes_on_with_the_kept_bank_when_the_file_is_gone(made, tmp_path: Path) -> None:
    bank = tmp_path / "bank.safetensors"
    shutil.copy(fitted()[1], bank)
    station = made(bank=str(bank))
    station.start()
    bank.unlink()
    drop(tmp_path, "a.png", 1)
    station.settle(1)
    station.kill()
    station.start()
    assert "the bank before goes on" in (tmp_path / "log").read_text()
    drop(tmp_path, "b.png", 2)
    station.settle(2)


def test_a_locked_data_base_loses_nothing(made, tmp_path: Path) -> None:
    station = made()
    station.start()
    with closing(sqlite3.connect(tmp_path / "state" / "station.db", isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE")
        for at in range(5):
            drop(tmp_path, f"{at}.png", at)
        time.sleep(13)  # longer than anybody waits for a lock
        file.execute("ROLLBACK")
    station.settle(5)


def test_a_clock_that_is_set_back_changes_no_order(made, tmp_path: Path) -> None:
    """By a file of the future and one of the past: what counts is when the station saw them."""
    station = made()
    station.start()
    for at, moment in enumerate((4_000_000_000, 1, 2_000_000_000)):
        path = tmp_path / "in" / f".{at}.part"
        path.write_bytes(drop(tmp_path / "elsewhere", f"{at}.png", at).read_bytes())
        os.utime(path, (moment, moment))
        path.rename(tmp_path / "in" / f"{at}.png")
        station.settle(at + 1)
    assert [row[0] for row in station.rows()] == ["0.png", "1.png", "2.png"]


def test_a_folder_that_goes_and_comes_is_waited_for(made, tmp_path: Path) -> None:
    station = made()
    station.start()
    drop(tmp_path, "a.png", 1)
    station.settle(1)
    (tmp_path / "in").rename(tmp_path / "away")
    time.sleep(0.5)
    (tmp_path / "away").rename(tmp_path / "in")
    drop(tmp_path, "b.png", 2)
    station.settle(2)


def test_a_short_soak_leaves_memory_and_files_as_they_were(made, tmp_path: Path) -> None:
    """Two thousand images: the second half opens no more files and takes no more memory."""
    station = made(taken="delete", **{"keep-gb": 0.002})
    station.start()
    proc = Path(f"/proc/{station.process.pid}")

    def resident() -> int:
        return int(re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text())[1])

    def left() -> int:
        return len(list((tmp_path / "in").glob("*.png")))

    told = []
    for part in range(4):
        for at in range(500):
            drop(tmp_path, f"{part}-{at}.png", 1000 * part + at)
        station.until(
            lambda: not left() and len(set(station.known())) == 1, lambda: (left(), station.known())
        )
        told.append((len(list((proc / "fd").iterdir())), resident()))
    files, memory = zip(*told, strict=True)
    print(f"open files {files}, kB resident {memory}")
    assert files[-1] <= files[1] + 2
    assert memory[-1] < 1.05 * memory[1]


def test_the_demo_comes_up_judges_and_ends_by_ctrl_c_and_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fedpatchcore.cli", "station", "demo", "--every", "0.5"]
    command += ["--out", str(tmp_path / "demo"), "--listen", f"127.0.0.1:{_port()}"]
    database = tmp_path / "demo" / "state" / "station.db"

    def counts() -> dict[str, int]:
        with closing(sqlite3.connect(database)) as file:
            return dict(file.execute("SELECT verdict, count(*) FROM inspection GROUP BY verdict"))

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        said = ""
        while "judges" not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        assert "/join/" in said
        while counts().get("ok", 0) < 12 or counts().get("defect", 0) < 2:
            assert demo.poll() is None
            time.sleep(0.5)
        demo.send_signal(signal.SIGINT)
        assert "the demo has ended" in demo.stdout.read() and demo.wait(60) == 0
    with closing(sqlite3.connect(database)) as file:
        stopped = file.execute("SELECT why FROM inspection WHERE verdict = 'defect'").fetchall()
    assert all("training" in one[0] for one in stopped)
    again = [*command, "--minutes", "0.01"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "the demo has ended" in done.stdout, done.stdout + done.stderr
