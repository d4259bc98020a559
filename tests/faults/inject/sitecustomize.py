"""Faults inside a site's processes, told by a file; put on PYTHONPATH by the tests.

``$FAULT_FILE`` holds one JSON object: ``where`` ("module:Class.method"), ``do`` ("hang", "raise",
"die", "full", or one of `BENT`, which changes what is returned), ``times`` (how often it happens at
most), ``after`` (calls that pass first) and ``only`` (a word of the command that it happens in).
The method, or function, is wrapped when its module is imported; the file ``$FAULT_FILE.reached``
tells that the fault happened. Without the file nothing happens.
"""

import errno
import functools
import importlib.abc
import importlib.util
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

PLACES = {
    "fedpatchcore.features.extraction": ("Extractor._begun",),
    "fedpatchcore.learned.local": ("train_locally",),
    "fedpatchcore.site.site": ("Site.train",),
    "fedpatchcore.site.secure": ("secure_reply",),
    "fedpatchcore.server.secure_round": ("SecureRound.question",),
    "fedpatchcore.privacy.ledger": ("Ledger._deliver",),
    "fedpatchcore.files": ("write_atomically",),
}


def _nonsense(told: dict, result, *_):
    """Three floats for every array of an answer in a secure sum."""
    import numpy as np

    arrays = dict.fromkeys(result.letter.arrays, np.zeros(3, np.float32))
    return replace(result, letter=replace(result.letter, arrays=arrays))


def _fork(told: dict, packet, _, site: str):
    """In one exchange one site is told a list without another one."""
    texts = packet.texts
    if (texts["exchange"], site) != (told["exchange"], told["site"]):
        return packet
    return replace(
        packet, texts={**texts, "sites": [s for s in texts["sites"] if s != told["without"]]}
    )


def _repeat(told: dict, packet, asked, site: str):
    """In place of the last question but one a site is asked for its vector again, unlike before."""
    import numpy as np

    if (packet.texts["exchange"], site) != ("agree", told["site"]):
        return packet
    sites = packet.texts["sites"]
    sealed = np.zeros((len(sites), 82), np.uint8)
    texts = {**packet.texts, "exchange": "masked"}
    return replace(packet, texts=texts, arrays={"letter/sealed": sealed})


def _invent(told: dict, packet, _, site: str):
    """A fourth site, with keys that nobody signed."""
    import numpy as np

    if (packet.texts["exchange"], site) != ("shares", told["site"]):
        return packet
    arrays = {k: np.concatenate([a, a[-1:]]) for k, a in packet.arrays.items()}
    texts = {**packet.texts, "sites": [*packet.texts["sites"], "zz"]}
    return replace(packet, arrays=arrays, texts=texts)


def _reorder(told: dict, packet, _, site: str):
    """The opening is asked for before anybody has said who is left."""
    import numpy as np

    if (packet.texts["exchange"], site) != ("agree", told["site"]):
        return packet
    rows = np.zeros((len(packet.texts["sites"]), 64), np.uint8)
    texts = {**packet.texts, "exchange": "open"}
    return replace(packet, texts=texts, arrays={"letter/signatures": rows})


def _withhold(told: dict, packet, _, site: str):
    """One site is told that nobody else is left."""
    if (packet.texts["exchange"], site) != ("agree", told["site"]):
        return packet
    return replace(packet, texts={**packet.texts, "sites": [site]})


LAST: list = []


def _late(told: dict, result, *_):
    """The first answer that this meets is sent again in the place of the next one."""
    if LAST:
        return LAST.pop()
    LAST.append(result)
    return result


BENT = {
    "nonsense": _nonsense,
    "late": _late,
    "fork": _fork,
    "repeat": _repeat,
    "invent": _invent,
    "reorder": _reorder,
    "withhold": _withhold,
}


def _fault(where: str) -> dict:
    """What a fault was told that changes the result; empty for none."""
    file = Path(os.environ["FAULT_FILE"])
    if not file.exists():
        return {}
    told = json.loads(file.read_text())
    if told["where"] != where or told.get("only", "") not in ("", *sys.argv):
        return {}
    if told.get("after", 0):
        told["after"] -= 1
        _save(file, told)
        return {}
    if not told.get("times", 1):
        return {}
    told["times"] = told.get("times", 1) - 1
    _save(file, told)
    Path(f"{file}.reached").write_text(f"{os.getpid()}\n")
    if told["do"] == "hang":
        time.sleep(told.get("seconds", 3600))
    elif told["do"] == "raise":
        raise RuntimeError("injected: the camera driver gave up")
    elif told["do"] == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif told["do"] == "die":
        os._exit(137)
    return told if told["do"] in BENT else {}


def _save(file: Path, told: dict) -> None:
    new = Path(f"{file}.new")
    new.write_text(json.dumps(told))
    new.replace(file)


def _wrap(module, place):
    *owners, last = place.split(".")
    owner = module
    for one in owners:
        owner = getattr(owner, one)
    plain = getattr(owner, last)

    @functools.wraps(plain)
    def wrapped(*args, **kwargs):
        told = _fault(f"{module.__name__}:{place}")
        result = plain(*args, **kwargs)
        return BENT[told["do"]](told, result, *args) if told else result

    setattr(owner, last, wrapped)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in PLACES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            for place in PLACES[name]:
                _wrap(module, place)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("FAULT_FILE"):
    sys.meta_path.insert(0, _Finder())
