"""A node's executor: ClientApps are forks of it, as fresh as programs, and load nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fedpatchcore.service.bodies import pack_body
from fedpatchcore.wire.packet import Packet
from tests.house.test_face import HEAVY
from tests.support.places import ROOT
from tests.support.workers import listening

SPEC = """
import os, sys, json, signal, time
import client_app.forking as executor
from flwr.supercore.superexec.executor.types import ExecutionSpec
from flwr.supernode.runtime import run_clientapp as flower
from flwr.supercore.exit import add_exit_handler, exit_handler

def spec(kind="flwr-clientapp", token="secret"):
    return ExecutionSpec(kind, "127.0.0.1:9", token, True, None, False, os.getpid(), False, 7)

def ended(forking):
    end = time.monotonic() + 60
    while forking._running and time.monotonic() < end:
        forking.reconcile()
        time.sleep(0.02)
    assert not forking._running
"""


def test_every_kind_of_message_that_a_server_sends_is_answered() -> None:
    from client_app.executor import VERBS
    from fedpatchcore.server.secure_round import SecureRound
    from fedpatchcore.server.tuning import TuneRounds

    talks = {SecureRound.kind: "sums", TuneRounds.kind: "tune"}
    assert {"query": "facts", "train": "train", "evaluate": "evaluate", **talks} == VERBS


def program(code: str, *words: object, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", SPEC + code, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=check,
    )


def test_a_clientapp_is_a_fork_that_forgets_what_is_its_parents(tmp_path: Path) -> None:
    code = """
def app(**told):
    seen = {
        "pid": os.getpid(), "parent": os.getppid(), "told": told, "argv": sys.argv,
        "app": [m for m in sys.modules if m.startswith("client_app")],
        "handlers": len(exit_handler.registered_exit_handlers),
        "default": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    }
    open(OUT, "w").write(json.dumps(seen))
    print("from the fork")
    sys.exit(3)

OUT = sys.argv[1]
flower.run_clientapp = app
add_exit_handler(lambda: print("the parent's end"))
signal.signal(signal.SIGTERM, lambda *_: None)
forking = executor.Forking()
print("before", end=" ")
assert forking.launch(spec()).status == "accepted"
(child,) = forking._running
ended(forking)
print(os.getpid(), child, "client_app.forking" in sys.modules)
"""
    done = program(code, tmp_path / "seen.json")
    seen = json.loads((tmp_path / "seen.json").read_text())
    parent, child, still = done.stdout.split()[-3:]
    assert (seen["pid"], seen["parent"], still) == (int(child), int(parent), "True")
    assert seen["argv"] == ["flwr-clientapp"]
    assert seen["app"] == []  # so the run's own app is found, not this installation's
    assert (seen["handlers"], seen["default"]) == (0, True)
    assert seen["told"] == {
        "runtime_api_address": "127.0.0.1:9",
        "token": "secret",
        "insecure": True,
        "certificates": None,
        "parent_pid": int(parent),
        "runtime_dependency_install": False,
    }
    assert done.stdout.count("before") == done.stdout.count("from the fork") == 1
    assert "the parent's end" not in done.stdout


def test_two_messages_have_nothing_of_each_other() -> None:
    """What an app leaves in its process is gone with it, and one that dies takes nobody along."""
    code = """
left = []
def app(**told):
    left.append(told["token"])
    print(left, flush=True)
    if told["token"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if told["token"] == "raises":
        raise RuntimeError("in the app")

flower.run_clientapp = app
forking = executor.Forking()
for token in ("a", "dies", "raises", "b"):
    forking.launch(spec(token=token))
    ended(forking)
"""
    done = program(code)
    assert done.stdout.splitlines() == ["['a']", "['dies']", "['raises']", "['b']"]
    assert "RuntimeError: in the app" in done.stderr


def test_other_tasks_are_programs_as_flower_starts_them() -> None:
    code = """
executor.SubprocessExecutor.launch = lambda self, spec: f"Flower's own {spec.task_type}"
print(executor.Forking().launch(spec("flwr-serverapp")))
"""
    assert program(code).stdout.strip() == "Flower's own flwr-serverapp"


def test_flowers_executor_runs_with_it_and_loads_nothing_of_ours_or_heavy() -> None:
    code = f"""
def stand_in():
    print(type(executor.superexec.get_executor("subprocess", insecure=True)).__name__)
    print([m for m in {HEAVY[:-2]} if m in sys.modules], sys.argv[0])
    print([m for m in sys.modules if m.startswith(("fedpatchcore", "sqlalchemy", "uvicorn"))])
executor._without_siblings()
import flwr.supercore.cli.flower_superexec as cli
cli.flower_superexec = stand_in
executor.main()
"""
    assert program(code).stdout.splitlines() == ["Forking", "[] flower-superexec", "[]"]


MESSAGE = f"""
import sys
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from client_app.app import app
from client_app.records import to_records
from fedpatchcore.wire.packet import Packet

TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
sent = Message(to_records(Packet()), dst_node_id=1, message_type=sys.argv[2])
node = {{"site": "plant-a", "worker": sys.argv[1]}}
config = {{"backbone": "filterbank", "geometry": "full"}}
context = Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config=config)
texts = app(sent, context).content["texts"]
print(dict(texts), [m for m in {HEAVY[:-2]} if m in sys.modules])
"""


@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
def test_with_a_worker_the_clientapp_loads_nothing_that_computes(kind: str) -> None:
    told = Packet({}, {}, {"site": "plant-a", "from": "the worker"})
    body = pack_body({"numbers": told.numbers, "texts": told.texts}, told.arrays)
    with (
        tempfile.TemporaryDirectory(prefix="fpc-") as folder,
        listening(Path(folder) / "w.sock", lambda job: (body, True)) as served,
    ):
        done = subprocess.run(
            [sys.executable, "-c", MESSAGE, str(served.path), kind],
            cwd=ROOT,
            env={**os.environ, "FEDPATCHCORE_SITE": "", "FEDPATCHCORE_DATA": ""},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.strip() == f"{told.texts} []"
