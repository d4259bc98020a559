"""Faults inside a site's processes, told by a file; put on PYTHONPATH by the tests.

``$FAULT_FILE`` holds one JSON object: ``where`` ("module:Class.method"), ``do`` ("hang", "raise",
"die", "full"), ``times`` (how often it happens at most) and ``after`` (calls that pass first). The
method, or function, is wrapped when its module is imported; the file ``$FAULT_FILE.reached`` tells
that the fault happened. Without the file nothing happens.
"""

import errno
import functools
import importlib.abc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

PLACES = {
    "fedpatchcore.features.extraction": ("Extractor._begun",),
    "fedpatchcore.learned.local": ("train_locally",),
    "fedpatchcore.site.site": ("Site.train",),
    "fedpatchcore.privacy.ledger": ("Ledger._deliver",),
    "fedpatchcore.files": ("write_atomically",),
}


def _fault(where: str) -> None:
    file = Path(os.environ["FAULT_FILE"])
    if not file.exists():
        return
    told = json.loads(file.read_text())
    if told["where"] != where:
        return
    if told.get("after", 0):
        told["after"] -= 1
        _save(file, told)
        return
    if not told.get("times", 1):
        return
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
        _fault(f"{module.__name__}:{place}")
        return plain(*args, **kwargs)

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
