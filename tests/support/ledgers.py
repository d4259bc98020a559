"""Requests to a ledger, mechanisms that count their draws, and processes that share one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from collections.abc import Iterable

import numpy as np

from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.ledger import Ledger, Request
from tests.support.places import ROOT

__all__ = ["DELTA", "ONE", "Draws", "key_of", "never", "put", "request", "run_python", "told_by"]

DELTA = 1e-5
ONE = gaussian_sigma(1, DELTA)


def key_of(name: object) -> str:
    return hashlib.sha256(repr(name).encode()).hexdigest()


def request(name: object = "a", images: Iterable[str] = ("i1", "i2"), **changes) -> Request:
    multiplier = changes.get("multiplier", ONE)
    base = {
        "key": key_of(name),
        "run": "run-1",
        "site": "north",
        "section": "plate",
        "mechanism": "cells",
        "epsilon": gaussian_epsilon(multiplier, DELTA),
        "delta": DELTA,
        "multiplier": multiplier,
        "images": images,
        "label": "one image is protected",
    }
    return Request(**{**base, **changes})


class Draws:
    """A mechanism that gives something else each time it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.count += 1
        return {"sums": np.arange(6).reshape(2, 3) + self.count}


def never() -> dict[str, np.ndarray]:
    raise AssertionError("drawn")


def put(ledger: Ledger, name: object, images=("i1", "i2"), *, budget=100.0, draw=None, **changes):
    return ledger.release(
        request(name, images, **changes), draw or Draws(), budget_epsilon=budget, delta=DELTA
    )


PRELUDE = """
    import os, sys
    from pathlib import Path
    from fedpatchcore.privacy.ledger import Ledger
    from tests.support.ledgers import DELTA, Draws, put, request
    ledger = Ledger(Path(sys.argv[1]))
"""


def run_python(*parts: object) -> subprocess.Popen[str]:
    """Pieces of code, then the ledger's folder and further arguments."""
    pieces = [str(part) for part in parts]
    codes = [piece for piece in pieces if piece.startswith("\n")]
    text = "".join(textwrap.dedent(code) for code in [PRELUDE, *codes])
    return subprocess.Popen(
        [sys.executable, "-c", text, *pieces[len(codes) :]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def told_by(process: subprocess.Popen[str]) -> list[str]:
    lines = process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 0
    return lines
