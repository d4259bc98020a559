"""Every door fed with changed samples, from one seed, for as long as it is given.

    make test-hostile                          a minute a door
    HOSTILE_SECONDS=600 HOSTILE_SEED=7 make test-hostile

`make test` looks in at each for a moment. A finding is printed with its seed and number.
"""

from __future__ import annotations

import os
import random
import time
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from fedpatchcore.errors import FedPatchCoreError
from tests.hostile.control_doors import CONTROL_DOORS
from tests.hostile.doors import DOORS as LIBRARY_DOORS
from tests.hostile.doors import Door
from tests.hostile.flower_doors import FLOWER_DOORS
from tests.hostile.line_doors import LINE_DOORS
from tests.hostile.station_doors import STATION_DOORS
from tests.hostile.trained_doors import TRAINED_DOORS
from tests.hostile.tuning_doors import TUNING_DOORS

DOORS = LIBRARY_DOORS | FLOWER_DOORS | TRAINED_DOORS | CONTROL_DOORS | STATION_DOORS
DOORS |= LINE_DOORS | TUNING_DOORS

SEED = int(os.environ.get("HOSTILE_SEED", "0"))
SECONDS = float(os.environ.get("HOSTILE_SECONDS", "0"))


@pytest.mark.parametrize("name", DOORS)
def test_an_honest_sample_is_taken(name: str, tmp_path: Path) -> None:
    with closing(DOORS[name](tmp_path)) as door:
        for sample in door.samples:
            door.take(sample)


@pytest.mark.parametrize("name", DOORS)
def test_what_is_changed_is_taken_whole_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with closing(DOORS[name](tmp_path)) as door:
        fed(name, door)


def fed(name: str, door: Door) -> None:
    end, number, refused = time.monotonic() + SECONDS, 0, 0
    while number < door.few or time.monotonic() < end:
        chance = random.Random(f"{SEED}:{name}:{number}")
        sample = door.change(chance.choice(door.samples), chance)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                door.take(sample)
        except FedPatchCoreError as error:
            refused += 1
            told = str(error)
            assert told and "\n" not in told and len(told) < 4000, (name, number, told[:500])
        except Exception as error:
            pytest.fail(f"{name}, HOSTILE_SEED={SEED}, number {number}: {error!r}")
        number += 1
    print(f"{name}: {number} tried, {refused} refused")
    assert bool(refused) is not door.total
