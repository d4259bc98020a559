"""The control room at scale: 1,000 sites, 10,000 runs, 5,000 banks, 50 pages that follow.

    python benchmarks/control.py

Fills a data base as the mirror would, asks for each page ten times through the whole application
(guard, queries, templates; no network), and prints the median and the slowest, the time the CPU was
at work for it (what is left on a machine with nothing else to do), the queries and the bytes. Then
50 pages that follow ask for the overview at once, as after a change.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from fedpatchcore.config import RunConfig
from fedpatchcore.control.app import application
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.control.tables import (
    Alias,
    BankVersion,
    Release,
    Run,
    RunDetail,
    Site,
)
from fedpatchcore.web.moments import now

SITES, RUNS, BANKS, PRODUCTS = 1000, 10_000, 5000, 12
PAGES = ("/overview", "/runs", "/runs?page=150", "/runs/10000", "/compare?run=9999&run=10000")
PAGES = (
    *PAGES,
    "/banks",
    "/banks/5000",
    "/history?product=p1&site=site0001",
    "/start",
    "/wall",
    "/schedules",
    "/metrics",
    "/api/runs",
)
TIMES = 10


def fill(room: Room) -> None:
    """Everything in one transaction."""
    names = [f"site{n:04d}" for n in range(SITES)]
    products = [f"p{n}" for n in range(PRODUCTS)]
    settings, at = RunConfig().table(), now() - RUNS * 60_000
    row = {
        "state": "done",
        "bad": False,
        "images": 400,
        "taught": 400,
        "rows": 600,
        "epsilon": None,
    }
    row |= {"megabytes": 1.2, "seconds": 40.0, "auroc": 0.97, "found": [40, 42], "stopped": [2, 40]}
    table = [{"site": name, **row} for name in names]
    results = [
        {"product": p, "site": name, "kind": "site", "federated": 0.97, "found": [40, 42]}
        for p in products[:2]
        for name in names
    ]
    with room.database.write() as session:
        for n in range(1, RUNS + 1):
            moment = at + n * 60_000
            run = Run(id=n, folder=f"run{n:05d}", state="finished", begun_at=moment)
            run.told_at, run.sites, run.round, run.rounds, run.auroc = moment, SITES, 3, 3, 0.97
            session.add(run)
            wide = n > RUNS - 10
            detail = RunDetail(run_id=n, settings=settings, notes=[])
            detail.table, detail.results = (table, results) if wide else ([], [])
            session.add(detail)
        session.get(Run, RUNS).state = "running"
        session.flush()
        for n in range(1, BANKS + 1):
            part = {"rows": 10_000, "radius": 0.5, "images": dict.fromkeys(names[:20], 400)}
            bank = BankVersion(id=n, run_id=n, digest=f"{n:064x}", size=10**8, made_at=at + n)
            bank.round, bank.library, bank.fingerprint = 3, "0.4.0", "f" * 64
            bank.aggregation, bank.mechanism = "federated_coreset", "off"
            bank.sites, bank.results = names[:20], results[:40]
            bank.sections = dict.fromkeys(products, part)
            session.add(bank)
        session.flush()
        for p in products:
            session.add(Alias(product=p, alias="production", version_id=BANKS - 1))
            session.add(Alias(product=p, alias="candidate", version_id=BANKS))
            told = Release(product=p, version_id=BANKS - 1, since=at, who="anna", note="", gates=[])
            session.add(told)
        for name in names:
            site = Site(name=name, seen_at=now(), called_at=at, run_id=RUNS, state="done")
            site.products, site.images, site.library = products[:3], 400, "0.4.0"
            site.judges = {products[0]: BANKS - 1}
            session.add(site)


async def measured(room: Room, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(application(room))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=headers, timeout=120
    ) as browser:
        print(f"{'page':38}{'median ms':>10}{'slowest':>9}{'CPU ms':>8}{'queries':>9}{'kB':>8}")
        for path in PAGES:
            await browser.get(path)
            times, before, busy = [], room.database.queries, time.process_time()
            for _ in range(TIMES):
                begun = time.perf_counter()
                answer = await browser.get(path)
                times.append(1000 * (time.perf_counter() - begun))
            assert answer.status_code == 200, (path, answer.text[:300])
            busy = 1000 * (time.process_time() - busy) / TIMES
            queries = (room.database.queries - before) / TIMES
            middle, size = statistics.median(times), len(answer.content) / 1000
            print(f"{path:38}{middle:10.0f}{max(times):9.0f}{busy:8.0f}{queries:9.0f}{size:8.0f}")
        begun, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*(browser.get("/overview") for _ in range(50)))
        wall, busy = time.perf_counter() - begun, time.process_time() - busy
        print(f"50 pages at once: {wall:.1f} s until all have theirs, CPU {busy:.1f} s")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        room = Room.open(Path(folder) / "runs", Path(folder) / "state")
        begun = time.perf_counter()
        fill(room)
        size = room.database.path.stat().st_size / 1e6
        print(f"filled in {time.perf_counter() - begun:.0f} s, {size:.0f} MB")
        asyncio.run(measured(room, room.people.make_token(CONSOLE, "bench", "operator", "", 1)))
        room.close()


if __name__ == "__main__":
    sys.exit(main())
