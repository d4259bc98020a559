"""Does the server scale? Simulated federations of 10, 100 and 1,000 sites on one machine.

    python server_scale.py [--sites 10 100 1000] [--bank 1000] [--rows 1000] [--memory 0.25]
    python server_scale.py --tiles          what the tree costs in detection

Each point is a fresh process. Sites' coresets are made one at a time as they are asked for: random
rows out of 6,000 real patches of magnetic tiles (SqueezeNet, 768 numbers), times a gain of
each channel of that site (log-normal, 10%), times noise (5%), each layer scaled back to norm 1;
so sites differ like cameras do. They go through ``Federation.accept`` and ``merge`` ("library")
or, as messages, through the whole ServerApp with its evaluation, checkpoint and report ("app").
Memory is the peak resident set of that process (`fedpatchcore.timing.peaks`, which puts Linux' own
mark back for every merge); "imports" is what it was before the first site.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scale_sites import NAME, Sites, write_pool

from fedpatchcore.config import RunConfig
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.timing.peaks import peak


def peak_mb() -> float:
    """Peak resident set of this process so far, as long as nothing put the mark back."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def resident_mb() -> float:
    """Resident set of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def configuration(told: argparse.Namespace, sites: int) -> RunConfig:
    """Settings of a point."""
    return RunConfig(
        backbone="squeezenet1_1",
        geometry="full",
        global_bank_size=told.bank,
        server_memory_gb=told.memory,
        aggregation=told.aggregation,
        min_sites=max(1, sites // 2),
        threads=1,
        device="cpu",
        heatmaps=0,
        out_dir=str(told.folder),
        run_name="run",
    )


def library(told: argparse.Namespace, sites: Sites, count: int) -> dict[str, float]:
    """Straight into the federation, one reply at a time."""
    config = configuration(told, count)
    run = RunFolder.create(told.folder, "run", config.table())
    federation = Federation(config, contributions=run.contributions())
    accepting = 0.0
    with peak() as accepted:
        for at in range(count):
            reply = sites.train(at)
            start = time.perf_counter()
            federation.accept(reply)
            accepting += time.perf_counter() - start
            del reply
    start, work = time.perf_counter(), time.process_time()
    federation.merge(1)
    merging, work = time.perf_counter() - start, time.process_time() - work
    merged = federation.close(1)["memory"]["merge"]
    start = time.perf_counter()
    run.checkpoint(1, federation)
    return {
        "accept s": accepting,
        "merge s": merging,
        "merge CPU s": work,
        "checkpoint s": time.perf_counter() - start,
        "peak while accepting MB": accepted.rss / 1e6,
        "peak while merging MB": merged / 1e6,
    }


def app(told: argparse.Namespace, sites: Sites, count: int) -> dict[str, float]:
    """Through the ServerApp; replies are made when they are pulled."""
    import logging

    from flwr.app import Context, Message, RecordDict

    from client_app.records import to_records
    from fedpatchcore.wire.packing import pack
    from server_app.app import app as server_app
    from tests.support.fakegrid import FakeGrid

    logging.getLogger("flwr").setLevel(logging.WARNING)

    class Lazy(FakeGrid):
        """Remembers the messages' kinds; answers when asked for the reply."""

        def _deliver(self, message: Message) -> str:
            message_id = str(next(self._ids))
            message.metadata.__dict__["_message_id"] = message_id
            self._replies[message_id] = message
            return message_id

        def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
            for message_id in message_ids:
                asked = self._replies.pop(message_id)
                at, kind = asked.metadata.dst_node_id - 1, asked.metadata.message_type
                if kind == "query":
                    answer = sites.facts(at)
                else:
                    answer = sites.train(at) if kind == "train" else sites.evaluate(at, count)
                reply = Message(content=to_records(pack(answer)), reply_to=asked)
                reply.metadata.__dict__["_reply_to_message_id"] = message_id
                del answer, asked
                yield reply
                del reply

    table = configuration(told, count).table()
    grid = Lazy(None, {at + 1: {} for at in range(count)}, table)
    start = time.perf_counter()
    server_app(grid, Context(1, 0, {}, RecordDict(), table))
    seconds = time.perf_counter() - start
    lines = (told.folder / "run" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    merged = next(e for e in events if e["event"] == "merged")
    written = (told.folder / "run" / "metrics.json").stat().st_size
    return {"run s": seconds, "merge s": merged["seconds"], "metrics.json kB": written / 1e3}


def point(told: argparse.Namespace) -> None:
    """One process, one figure: prints a JSON object."""
    import faiss
    import torch

    from fedpatchcore.site.setup import use_threads

    use_threads(1)
    sites, count = Sites(told.pool, told.rows), told.sites[0]
    if told.path == "app":
        import server_app.app  # noqa: F401
    torch.ones(64, 64) @ torch.ones(64, 64)
    faiss.IndexFlatL2(8).add(np.ones((8, 8), np.float32))
    sites.coreset(0)
    before = peak_mb()
    with peak() as most:
        found = {"app": app, "library": library}[told.path](told, sites, count)
    record_of = json.loads((told.folder / "run/rounds/0001/history.json").read_text())["rounds"][0]
    facts = record_of["sections"][NAME]
    tree = facts.get("tree", {"blocks": 1, "depth": 1, "factor": 2.0, "factor_worst": 2.0})
    result = {
        "path": told.path,
        "sites": count,
        "offered rows": facts["offered_rows"],
        "bank": facts["rows"],
        "memory GB": told.memory,
        "imports MB": before,
        "peak MB": most.rss / 1e6,
        "resident at end MB": resident_mb(),
        **found,
        "s/site": found["merge s"] / count,
        "radius": facts["radius"],
        "radius proved": tree.get("radius_proved", facts["radius"]),
        "blocks": tree["blocks"],
        "depth": tree["depth"],
        "factor": tree["factor"],
        "factor worst": tree["factor_worst"],
    }
    print(json.dumps(result))


def curve(told: argparse.Namespace) -> None:
    """All points, each in a process of its own."""
    from common import keep, show

    rows = []
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        pool = Path(temporary) / "pool.npy"
        write_pool(pool)
        for path in told.paths:
            for count in told.sites:
                with tempfile.TemporaryDirectory(prefix="scale-", dir=temporary) as folder:
                    words = [sys.executable, __file__, "--point", "--path", path]
                    words += ["--sites", str(count), "--folder", folder, "--pool", str(pool)]
                    words += ["--aggregation", told.aggregation, "--memory", str(told.memory)]
                    words += ["--bank", str(told.bank), "--rows", str(told.rows)]
                    done = subprocess.run(
                        words, capture_output=True, text=True, env={**os.environ}, check=False
                    )
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    first = ["path", "sites", "offered rows", "bank", "imports MB", "peak MB", "merge s", "s/site"]
    show("memory and time", [{k: r[k] for k in first} for r in rows])
    second = ["sites", "blocks", "depth", "radius", "radius proved", "factor", "factor worst"]
    show("what is proved", [{k: r[k] for k in second} for r in rows if r["path"] == told.paths[0]])
    keep(f"server_scale_{told.aggregation}_{told.bank}{told.name}", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rows", type=int, default=1000, help="of a site's coreset")
    parser.add_argument("--bank", type=int, default=1000)
    parser.add_argument("--memory", type=float, default=0.25, help="server-memory-gb")
    parser.add_argument("--aggregation", default="federated_coreset")
    parser.add_argument("--paths", nargs="+", default=["library", "app"])
    parser.add_argument("--name", default="", help="end of the name of the file of results")
    parser.add_argument("--tiles", action="store_true")
    parser.add_argument("--point", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pool", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.point:
        point(told)
    elif told.tiles:
        from scale_tiles import tiles

        tiles()
    else:
        curve(told)


if __name__ == "__main__":
    main()
