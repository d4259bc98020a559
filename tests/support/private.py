"""What the tests of private runs share: names, settings, a look at the books."""

from __future__ import annotations

import json
from pathlib import Path

from fedpatchcore.privacy.ledger import Ledger

__all__ = ["LOUD", "TWICE", "charges", "ledger", "privacy", "same"]

LOUD = {"dp_epsilon": 60.0, "dp_budget_epsilon": 60.0}  # hardly any noise: the bank is of use
TWICE = {**LOUD, "dp_budget_epsilon": 200.0}


def charges(folder: Path) -> tuple:
    return Ledger(folder).charges()


def ledger(tmp_path: Path, name: str = "north") -> Ledger:
    return Ledger(tmp_path / "ledgers" / name)


def privacy(folder: Path) -> dict:
    return json.loads((folder / "privacy.json").read_text())


def same(one: object, two: object) -> bool:
    return repr(one) == repr(two)  # NaN is NaN
