"""What a tune has found out, kept on disk after every trial: one that was killed goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.sealed import read_sealed, sealed
from fedpatchcore.tuning.plan import Plan
from fedpatchcore.tuning.trial import Trial
from fedpatchcore.version import VERSION

__all__ = ["State", "question"]

# settings that change where and how quickly work is done, and no score
ELSEWHERE = ("device", "threads", "workers", "cache-gb", "out-dir", "run-name", "data", "resume")


def question(base: RunConfig, plans: Sequence[Plan]) -> str:
    """SHA-256 of all that trials depend on."""
    told = {key: value for key, value in base.table().items() if key not in ELSEWHERE}
    images = [(one.product, one.keys, [str(g) for g in one.groups]) for one in plans]
    defects = [repr(one.tasks) for one in plans]
    text = json.dumps([VERSION, told, images, defects], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class State:
    """Trials by name of the candidate and number of pictures.

    Attributes:
        path: of the file; None: nothing is kept.
        left_out: why a candidate is not tried, by its name.
        spent: seconds of all trials, also of those before it was killed.
    """

    path: Path | None
    question: str
    trials: dict[tuple[str, int], Trial] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    spent: float = 0.0

    @classmethod
    def open(cls, path: Path, asked: str) -> State:
        """What is kept there, or a new one.

        Raises:
            ConfigError: it is of other images or settings.
            RunError: it is damaged.
        """
        if not path.is_file():
            return cls(path, asked)
        told = read_sealed(path, error=RunError)
        try:
            state = cls(path, str(told["question"]), spent=float(told["spent"]))
            state.left_out = {str(name): str(why) for name, why in told["left_out"].items()}
            for one in told["trials"]:
                state.trials[one["name"], int(one["count"])] = Trial.from_told(one["trial"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{path} is no state of a tune ({error!r}): remove it") from None
        if state.question != asked:
            raise ConfigError(
                f"{path.parent} holds a tune of other images or settings: name another folder "
                "with --out, or remove it"
            )
        return state

    def add(self, name: str, count: int, trial: Trial) -> None:
        """Keep a trial. Raises RunError if the disk refuses."""
        self.trials[name, count] = trial
        self.spent += trial.spent
        self._save()

    def leave_out(self, name: str, why: str) -> None:
        """Keep why a candidate is not tried. Raises RunError."""
        self.left_out[name] = why
        self._save()

    def _save(self) -> None:
        if self.path is None:
            return
        told: dict[str, Any] = {
            "question": self.question,
            "spent": self.spent,
            "left_out": self.left_out,
            "trials": [
                {"name": name, "count": count, "trial": trial.told()}
                for (name, count), trial in self.trials.items()
            ],
        }
        try:
            write_atomically(self.path, sealed(told))
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}") from None
