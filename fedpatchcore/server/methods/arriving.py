"""Updates of models as they come, where no round ends: what each started from, what it moved.

A bank has one version for all its sections, the number of the bank; a section's model has a version
of its own (`fedpatchcore.learned.arrivals`), for it moves only when sites that make its product
answer. An update's staleness is counted in versions of its own section's model.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update
from fedpatchcore.learned.arrivals import FedAsync, FedBuff
from fedpatchcore.learned.carried import Losses
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.site.methods.gradients import TURN

__all__ = ["Arrived", "Arriving", "Sent"]


@dataclass(frozen=True)
class Sent:
    """What a site was sent to train from.

    Attributes:
        version: of the bank; 0: there was none yet.
        turn: updates that had been taken by then in the whole run, which no two answers of a site
            have in common.
    """

    version: int
    turn: int


@dataclass(frozen=True)
class Arrived:
    """An update that counted.

    Attributes:
        late: its staleness.
        turn: of the message that it answers (`Sent`).
    """

    update: Update
    losses: Losses
    late: int
    turn: int

    def told(self) -> dict[str, Any]:
        """For a round's record."""
        one = self.update
        return {"site": one.site, "from": one.round, "late": self.late, "turn": self.turn}


@dataclass
class _Section:
    """A section's model between two banks.

    Attributes:
        since: ``(bank, version)``: from this bank on the model was of that version; in order.
        taken: updates since the last bank, in the order in which they counted.
        following: the model that the next bank holds; None while it stays as it is.
    """

    since: list[tuple[int, int]] = field(default_factory=lambda: [(0, 1)])
    taken: list[Arrived] = field(default_factory=list)
    following: Arrays | None = None

    def version_at(self, bank: int) -> int:
        """Of the model in that bank; 0 if that is too long ago."""
        at = bisect_right(self.since, bank, key=lambda one: one[0])
        return self.since[at - 1][1] if at else 0


class Arriving:
    """What is on its way and what has come.

    Attributes:
        turns: updates taken in the whole run.
        sent: what each site was sent last.
    """

    def __init__(self) -> None:
        self.turns = 0
        self.sent: dict[str, Sent] = {}
        self._sections: dict[str, _Section] = {}

    def ask(self, site: str, version: int) -> Sent:
        """A site is sent the bank of this version."""
        self.sent[site] = Sent(version, self.turns)
        return self.sent[site]

    def beside(self) -> dict[str, np.ndarray]:
        """What the next message says of its place in the run."""
        return {TURN: np.array([self.turns], np.float32)}

    def staleness(self, site: str, section: str, rule: FedAsync | FedBuff) -> int:
        """Versions by which the section's model has moved on since the site was sent it.

        Raises TrainingError if they are more than ``staleness-limit``.
        """
        version = self._section(section).version_at(self.sent[site].version)
        if version < rule.oldest:
            raise TrainingError(
                f"the update of site '{site}' is {rule.version - max(version, 1)} or more models "
                f"behind, of which staleness-limit allows {rule.limit}: it came too late and is "
                "left out"
            )
        return rule.version - version

    def step(
        self, section: str, rule: FedAsync | FedBuff, x: Arrays, update: Update, losses: Losses
    ) -> None:
        """Let an update count. Raises TrainingError as `staleness`, and as the rule does."""
        late = self.staleness(update.site, section, rule)
        mine, before = self._section(section), rule.version
        found = rule.step(before, x, [replace(update, round=before - late)])
        mine.taken.append(Arrived(update, losses, late, self.sent[update.site].turn))
        if rule.version > before:
            mine.following = found

    @property
    def due(self) -> bool:
        """Whether a section's model has moved, and a bank is to be made."""
        return any(one.following is not None for one in self._sections.values())

    def moved(self, section: str) -> tuple[Arrays | None, list[Arrived]]:
        """The model that a section moved to, None if it did not, and the updates since."""
        mine = self._section(section)
        found = mine.following, mine.taken
        mine.following, mine.taken = None, []
        return found

    def made(self, bank: int, rules: Mapping[str, FedAsync | FedBuff]) -> None:
        """A bank of this version holds the sections' models as they are now."""
        for name, rule in rules.items():
            since = self._section(name).since
            if since[-1][1] != rule.version:
                since.append((bank, rule.version))
            del since[: max(0, len(since) - rule.limit - 2)]

    def told(self) -> dict[str, Any]:
        """For a checkpoint; JSON."""
        return {
            "turns": self.turns,
            "since": {name: one.since for name, one in self._sections.items()},
        }

    def restore(self, told: Mapping[str, Any]) -> None:
        """Go on from `told`: whatever was on its way is asked for anew."""
        self.turns, self.sent = int(told["turns"]), {}
        self._sections = {
            name: _Section([(int(bank), int(version)) for bank, version in since])
            for name, since in told["since"].items()
        }

    def _section(self, name: str) -> _Section:
        return self._sections.setdefault(name, _Section())
