"""An update on its way: named arrays, whatever encoding it takes, and back.

``update.*`` and ``control.*`` are the arrays of `Encoded`, ``update.facts`` its counts and losses
in float64, ``update.layout`` the model's layout. Of an update that is added under masks the layout
travels alone: the mark that the site has one, of that model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.updates import Encoded, decode, layout_of

__all__ = ["MARK", "VALUES", "Losses", "carried", "check_mark", "is_carried", "read_carried"]

UPDATE, CONTROL = "update.", "control."
FACTS, LAYOUT = "facts", "layout"
VALUES = f"{UPDATE}values"  # of an update in float32
MARK = UPDATE + LAYOUT
NUMBERS = 7  # of the facts: round, examples, steps, weight, fresh, loss, held out


@dataclass(frozen=True)
class Losses:
    """What a site says of its own losses; NaN where it says nothing.

    Attributes:
        train: mean over the first pass of local steps.
        held_out: of the model as it came, over images that nobody trains on.
    """

    train: float = math.nan
    held_out: float = math.nan


def carried(
    update: Update, sent: Encoded, control: Encoded | None, losses: Losses
) -> dict[str, np.ndarray]:
    """The arrays that travel for an update whose change is ``sent``."""
    facts = [update.round, update.examples, update.steps, update.weight, update.fresh]
    arrays = {UPDATE + name: one for name, one in sent.arrays.items()}
    arrays[UPDATE + FACTS] = np.array([*facts, losses.train, losses.held_out], np.float64)
    arrays[UPDATE + LAYOUT] = np.frombuffer(bytes.fromhex(sent.layout), np.uint8)
    if control is not None:
        arrays |= {CONTROL + name: one for name, one in control.arrays.items()}
    return arrays


def is_carried(name: str) -> bool:
    """Whether an array beside rows is part of an update."""
    return name.startswith((UPDATE, CONTROL))


def check_mark(arrays: Mapping[str, np.ndarray], site: str, like: Arrays) -> None:
    """Raise TrainingError where a site shows more than the mark of a masked update, or none."""
    if seen := sorted(name for name in arrays if is_carried(name) and name != MARK):
        raise TrainingError(
            f"site '{site}' sent its update as it is ({seen[0]}), asked was one under masks"
        )
    mark = arrays.get(MARK)
    if mark is None or mark.tobytes().hex() != layout_of(like):
        raise TrainingError(
            f"site '{site}' has no update of this run's model to add under masks; is it of another "
            "version?"
        )


def read_carried(
    arrays: Mapping[str, np.ndarray], site: str, wire: str, like: Arrays
) -> tuple[Update, Losses]:
    """Inverse of `carried`. Raises TrainingError, naming the site."""
    try:
        facts = arrays[UPDATE + FACTS]
        layout = arrays[UPDATE + LAYOUT]
        if facts.dtype != np.float64 or facts.shape != (NUMBERS,) or layout.dtype != np.uint8:
            raise TrainingError("an update whose facts are none")
        round, examples, steps, weight, fresh, *losses = facts.tolist()
        counts = [int(one) for one in (round, examples, steps)]
        change = _decoded(UPDATE, arrays, wire, layout, like)
        control = None
        if any(name.startswith(CONTROL) for name in arrays):
            control = _decoded(CONTROL, arrays, wire, layout, like)
    except (TrainingError, KeyError, ValueError, OverflowError) as error:
        raise TrainingError(f"the update of site '{site}' cannot be read: {error}") from None
    update = Update(site, counts[0], change, counts[1], counts[2], weight, control, fresh > 0)
    return update, Losses(*losses)


def _decoded(
    kind: str, arrays: Mapping[str, np.ndarray], wire: str, layout: np.ndarray, like: Arrays
) -> Arrays:
    named = {
        name.removeprefix(kind): one
        for name, one in arrays.items()
        if name.startswith(kind) and name not in (UPDATE + FACTS, UPDATE + LAYOUT)
    }
    return decode(Encoded(wire, layout.tobytes().hex(), named), like)
