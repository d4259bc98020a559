"""A process a message against a worker that stays: seconds and memory of a site's half.

For figures, on a quiet machine of two cores, from the project's folder:

    .venv/bin/python benchmarks/worker.py messages            # one site: seconds a message
    .venv/bin/python benchmarks/worker.py messages --sites 5  # five at once, and their memory
    git worktree add ../before 74a9658    # the last commit in which each message was a process
    .venv/bin/python benchmarks/worker.py compose ../before . # up to table, and memory, on Docker

To see that it runs (half a minute on a quiet machine, and no figures):

    .venv/bin/python benchmarks/worker.py messages --tiny

Tables are printed; the figures also go to benchmarks/results/worker_*.json. ``compose`` needs an
engine (``eval "$(../shared/tools/docker-engine)"`` where there is none; DOCKER_BUILDKIT=0 without
buildx), 15 GB of disk and about half an hour, nearly all of it for building the images.

``messages`` does two rounds of the rehearsal's settings on synthetic images three times: each
message in a process of its own that does the work (as a bare ``flower-supernode`` whose
node-config names ``data``); asked of workers straight from here, which is what the work itself
takes; and asked of them by a ClientApp process a message, as a node does. All three must come to
the same bank.
``compose`` builds each tree's images and takes the time and the memory of its containers.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fedpatchcore.errors import WorkerAway
from fedpatchcore.service.bodies import pack_body, unpack_body
from fedpatchcore.service.link import Link
from fedpatchcore.service.request import Request, packet_from
from fedpatchcore.wire.packet import Packet
from fedpatchcore.worker.settings import worker_file

SETTINGS = {
    "backbone": "filterbank",
    "geometry": "full",
    "coreset-size": 600,
    "global-bank-size": 1500,
    "holdout": 0.25,
    "threads": 1,
    "min-sites": 1,
}
ROUNDS = 2
Ask = Callable[[Path, Request], Packet]  # a site's folder of images, what it is asked


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    messages_ = kinds.add_parser("messages")
    messages_.add_argument("--sites", type=int, default=1)
    messages_.add_argument("--tiny", action="store_true", help="few images, and nothing is kept")
    compose_ = kinds.add_parser("compose")
    compose_.add_argument("trees", type=Path, nargs="+")
    one = kinds.add_parser("message")  # started by "messages"
    for name in ("request", "answer", "data", "worker"):
        one.add_argument(name)
    told = parser.parse_args()
    if told.kind == "message":
        message(Path(told.request), Path(told.answer), told.data, told.worker)
        return
    if told.kind == "messages":
        messages(told.sites, tiny=told.tiny)
    else:
        compose(told.trees)


def message(request: Path, answer: Path, data: str, worker: str) -> None:
    """One message in this process, from Flower's records to Flower's records."""
    from flwr.app import Context, Message, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    from client_app.app import app
    from client_app.records import from_records, to_records

    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    told, arrays = unpack_body(request.read_bytes())
    asked = Request.from_told(told, arrays)
    kind = {"facts": "query"}.get(asked.verb, asked.verb)
    sent = Message(to_records(asked.packet), dst_node_id=1, message_type=kind)
    node = {"site": Path(data).name, **({"worker": worker} if worker else {"data": data})}
    context = Context(
        run_id=1,
        node_id=1,
        node_config=node,
        state=RecordDict(),
        run_config=dict(asked.settings),
    )
    packet = from_records(app(sent, context).content)
    answer.write_bytes(pack_body({"numbers": packet.numbers, "texts": packet.texts}, packet.arrays))


def messages(count: int, *, tiny: bool = False) -> None:
    """Both ways, one after the other, on images of ``count`` sites."""
    from common import keep, show
    from footprint import Footprint, below

    from fedpatchcore.data.sample import PRODUCTS, write_sample

    os.environ.pop("FEDPATCHCORE_SITE", None)
    with tempfile.TemporaryDirectory() as made:
        top = Path(made)
        few = {"train": 4, "test_good": 2, "test_defective": 2, "products": PRODUCTS[:1]}
        write_sample(top / "data", sites=max(count, 2), **(few if tiny else {}))
        folders = sorted((top / "data").glob("plant-*"))[:count]
        ways = {"process a message": False, "worker": True, "worker and node": True}
        seconds, memory, banks = {}, {}, {}
        for way, staying in ways.items():
            os.environ["FEDPATCHCORE_HOME"] = str(top / way)
            with ExitStack() as stack:
                if staying:
                    stack.enter_context(workers(folders, top / way))
                ask = straight if way == "worker" else by_process(top / way, staying)
                seen = stack.enter_context(Footprint(lambda: {"sites": below(os.getpid())}))
                seconds[way], banks[way] = rounds(ask, folders)
            memory[way] = seen.together
        assert len(set(banks.values())) == 1, f"banks differ: {banks}"
    steps = list(seconds["worker"])
    show(
        f"seconds from request to answer, the slowest of {count} at a time",
        [{"message": s, **{way: seconds[way][s] for way in ways}} for s in steps],
    )
    show("peak memory (PSS) of all processes that were asked, MB", [memory])
    if tiny:
        return
    keep(f"worker_messages_{count}", {"seconds": seconds, "megabytes": memory})


def rounds(ask: Ask, folders: Sequence[Path]) -> tuple[dict[str, float], str]:
    """A federation's rounds → seconds by message, of the slowest site; digest of the bank."""
    from fedpatchcore.config import RunConfig
    from fedpatchcore.server.federation import Federation
    from fedpatchcore.wire.delta import Broadcast
    from fedpatchcore.wire.evaluate import unpack_evaluate
    from fedpatchcore.wire.facts import unpack_facts
    from fedpatchcore.wire.train import unpack_train

    config = RunConfig.parse({**SETTINGS, "num-rounds": ROUNDS}, where="benchmark")
    federation = Federation(config, device="cpu")
    broadcast = Broadcast(config.wire, seed=config.seed, deltas=config.deltas)
    seconds, holds = {}, dict.fromkeys(folders, "")

    def all_sites(verb: str, number: int) -> dict[Path, Packet]:
        def one(folder: Path) -> tuple[float, Packet]:
            bank = federation.bank
            packet = broadcast.packet(bank, holds=holds[folder]) if bank else Packet()
            texts = {**packet.texts, "run-folder": "/runs/measured", "run": "r", "round": number}
            started = time.perf_counter()
            answer = ask(folder, Request(verb, SETTINGS, replace(packet, texts=texts), run="1"))
            return time.perf_counter() - started, answer

        with ThreadPoolExecutor(len(folders)) as pool:
            found = dict(zip(folders, pool.map(one, folders), strict=True))
        seconds[f"{verb}, round {number}"] = max(took for took, _ in found.values())
        holds.update({f: str(p.texts.get("holds", "")) for f, (_, p) in found.items()})
        return {folder: packet for folder, (_, packet) in found.items()}

    for number in range(1, ROUNDS + 1):
        facts = all_sites("facts", number)
        assert not federation.roll_call({str(f): unpack_facts(p) for f, p in facts.items()})
        for packet in all_sites("train", number).values():
            federation.accept(unpack_train(packet))
        federation.bank = federation.merge(number) or federation.bank
        federation.bank = broadcast.publish(federation.bank)
        for packet in all_sites("evaluate", number).values():
            federation.evaluated(unpack_evaluate(packet))
        federation.close(number)
    digest = hashlib.sha256()
    for name, array in sorted(federation.bank.arrays().items()):
        digest.update(name.encode() + array.tobytes())
    return seconds, digest.hexdigest()


def straight(folder: Path, request: Request) -> Packet:
    """Ask the site's worker from this process."""
    return Link(socket_of(folder)).answer(request)


def by_process(scratch: Path, staying: bool) -> Ask:
    """Ask a process of its own, which does the work or passes it to the site's worker."""

    def ask(folder: Path, request: Request) -> Packet:
        sent, got = scratch / f"{folder.name}.request", scratch / f"{folder.name}.answer"
        scratch.mkdir(exist_ok=True)
        sent.write_bytes(pack_body(request.told(), request.packet.arrays))
        worker = str(socket_of(folder)) if staying else ""
        words = ["message", str(sent), str(got), str(folder), worker]
        subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True)
        return packet_from(*unpack_body(got.read_bytes()))

    return ask


def socket_of(folder: Path) -> Path:
    """Where a site's worker listens."""
    return Path(os.environ["FEDPATCHCORE_HOME"]) / "run" / f"{folder.name}.sock"


@contextmanager
def workers(folders: Sequence[Path], home: Path):
    """A worker a site, ready to answer; ended with what they still draw."""
    (home / "run").mkdir(parents=True)
    running = []
    for folder in folders:
        file = home / "run" / f"{folder.name}.toml"
        given = {"site": folder.name, "data": str(folder), "socket": str(socket_of(folder))}
        file.write_text(worker_file(given, file))
        words = ["-m", "fedpatchcore.cli", "worker", "run", str(file)]
        running.append(subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL))
    try:
        for folder in folders:
            while True:
                try:
                    if Link(socket_of(folder)).health()["state"] == "idle":
                        break
                except WorkerAway:
                    pass
                time.sleep(0.2)
        yield
    finally:
        for one in running:
            one.send_signal(signal.SIGTERM)
        for one in running:
            one.wait()


def compose(trees: Sequence[Path]) -> None:
    """From `up` to the table, and the memory of the sites' containers, of each tree."""
    from common import keep, show

    found = {tree.resolve().name: up_to_table(tree) for tree in trees}
    rows = [
        {"tree": name, "seconds": one["seconds"], "sites together, MB": one["together"]}
        for name, one in found.items()
    ]
    show("compose: from up to the table, and the peak memory (PSS) of all sites", rows)
    keep("worker_compose", found)


def up_to_table(tree: Path) -> dict[str, Any]:
    """One tree's rehearsal: seconds, MB of all sites together, MB of each container."""
    from footprint import Footprint, in_containers

    program = ["docker", "compose"]
    if subprocess.run([*program, "version"], capture_output=True).returncode:
        program = [shutil.which("docker-compose") or sys.exit("no docker compose here")]
    environ = {**os.environ, "COMPOSE_PROJECT_NAME": "fedpatchcore-measured"}

    def told(*words: str) -> str:
        ran = subprocess.run(words, cwd=tree, env=environ, capture_output=True, text=True)
        return ran.stdout.strip() if not ran.returncode else sys.exit(ran.stderr[-3000:])

    def sites() -> dict[str, list[int]]:
        listed = told("docker", "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}")
        names = dict(line.split() for line in listed.splitlines())
        return in_containers({at: name for at, name in names.items() if "plant-" in name})

    told(*program, "build")
    started = time.perf_counter()
    try:
        with Footprint(sites, 1.0) as seen:
            told(*program, "up", "-d", "--no-build")
            code = told("docker", "wait", told(*program, "ps", "-q", "run"))
            seconds = time.perf_counter() - started
        print(told("docker", "logs", told(*program, "ps", "-q", "run"))[-1500:])
        if code != "0":
            sys.exit(f"the run ended with {code}")
    finally:
        told(*program, "down", "-v")
    return {"seconds": seconds, "together": seen.together, "each": seen.peak}


if __name__ == "__main__":
    main()
