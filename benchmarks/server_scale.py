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

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.config import RunConfig
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.timing.peaks import peak
from fedpatchcore.wire.messages import (
    EvaluateReply,
    ProductResult,
    SectionStats,
    SiteFacts,
    TrainReply,
)

NAME, POOL, LAYERS = "tile", 6000, (256, 512)


def peak_mb() -> float:
    """Peak resident set of this process so far, as long as nothing put the mark back."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def resident_mb() -> float:
    """Resident set of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


class Sites:
    """Made-up sites around real patches."""

    def __init__(self, pool: Path, rows: int) -> None:
        self.pool = np.load(pool)
        self.rows = rows
        self.fingerprint = Fingerprint.model_validate_json(pool.with_suffix(".json").read_text())

    def coreset(self, at: int) -> np.ndarray:
        """float32 ``[rows, 768]`` of site number ``at``."""
        rng = np.random.default_rng(at)
        rows = self.pool[rng.integers(len(self.pool), size=self.rows)]
        rows *= np.exp(0.1 * rng.standard_normal(rows.shape[1], dtype=np.float32))
        rows *= np.exp(0.05 * rng.standard_normal(rows.shape, dtype=np.float32))
        for part in np.split(rows, [LAYERS[0]], axis=1):
            part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
        return rows

    def train(self, at: int) -> TrainReply:
        """What site number ``at`` answers to a train message."""
        site, rows = f"site-{at:04d}", self.coreset(at)
        patches = 100 * len(rows)
        contribution = Contribution(site, self.fingerprint, {NAME: Part(rows, 100, patches, 0.5)})
        stats = SectionStats(NAME, 100, 110, 10, patches=patches, rows=len(rows), radius=0.5)
        return TrainReply(site, "full", contribution, (stats,))

    def evaluate(self, at: int, sites: int) -> EvaluateReply:
        """Figures of no meaning in the place of an evaluation."""
        result = ProductResult(
            NAME, 20, 20, 10, image_auroc=0.9, threshold=1.0, coverage=(7,) * sites
        )
        return EvaluateReply(f"site-{at:04d}", (result,))

    def facts(self, at: int) -> SiteFacts:
        """Answer to the roll call."""
        prints = self.fingerprint.to_json()
        return SiteFacts(f"site-{at:04d}", (NAME,), (100,), (40,), "cpu", prints, "0")


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
    from fedpatchcore.wire.packet import pack
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
    record_of = json.loads((told.folder / "run/rounds/0001/history.json").read_text())[0]
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


def write_pool(path: Path) -> None:
    """Real patches for the sites to be made of."""
    from common import extractor, patches, products, squeezenet

    tool = extractor(squeezenet())
    train = products("magnetic_tile")["magnetic_tile"].train
    rows = patches(tool, train[:: max(1, len(train) // 60)])
    np.save(path, rows[np.random.default_rng(0).permutation(len(rows))[:POOL]])
    path.with_suffix(".json").write_text(tool.backbone.fingerprint.to_json())


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


def tiles() -> None:
    """Magnetic tiles over five sites by light: the exact merge against trees of little memory."""
    from common import SHARED, extractor, keep, products, scores, show, squeezenet
    from common import tile_groups as groups_of
    from federation import manifest

    from fedpatchcore.coreset.memory import least_memory
    from fedpatchcore.data.partition import partition
    from fedpatchcore.metrics.curves import image_auroc, paired_bootstrap
    from fedpatchcore.site.site import Site

    product, ship, banks, facts = "magnetic_tile", 1000, {}, {}
    base = squeezenet(coreset_size=ship, holdout=0.0, min_sites=3, compare_local=False)
    tool = extractor(base)
    whole = products(product)
    with tempfile.TemporaryDirectory() as folder:
        parts = partition(
            whole, "manifest", sites=5, manifest=manifest(Path(folder)), root=SHARED / "data"
        )
    sites = [Site(n, own, base, tool.backbone, cache=tool.cache) for n, own in parts.items()]
    replies = [site.train() for site in sites]
    for size in (250, 500, 1000):
        least = least_memory(size, 768) / 1e9
        kinds = {"exact": (0.0, 0), "exact, seed 1": (0.0, 1), "exact, seed 2": (0.0, 2)}
        kinds |= {"tree, 7 k rows": (least * 1.0001, 0)}
        if size < 1000:
            kinds |= {"tree, 12 k rows": (least * 12 / 7, 0)}
        for kind, (memory, seed) in kinds.items():
            update = {"global_bank_size": size, "server_memory_gb": memory, "seed": seed}
            federation = Federation(base.model_copy(update=update))
            for reply in replies:
                federation.accept(reply)
            banks[size, kind] = federation.merge(1).section(product).features
            facts[size, kind] = federation._round["sections"][product]
    found = scores(tool, whole[product].test, banks)
    rows = []
    for (size, kind), result in found.items():
        labels = np.array([t.anomalous for t in result.images])
        groups = groups_of(result.images)
        exact = found[size, "exact"].scores
        difference = paired_bootstrap(labels, result.scores, exact, groups)
        told = facts[size, kind]
        tree = told.get("tree", {"blocks": 1, "depth": 1, "factor": 2.0, "factor_worst": 2.0})
        rows.append(
            {
                "bank": size,
                "merge": kind,
                "blocks": tree["blocks"],
                "depth": tree["depth"],
                "radius": told["radius"],
                "radius proved": tree.get("radius_proved", told["radius"]),
                "factor": tree["factor"],
                "factor worst": tree["factor_worst"],
                "image AUROC": image_auroc(result.scores, labels),
                "minus exact": "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference),
            }
        )
    show("five sites by light, 5,000 rows offered", rows)
    keep("server_scale_tiles", rows)


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
        tiles()
    else:
        curve(told)


if __name__ == "__main__":
    main()
