"""What a method's half at the server answers, and where it is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.wire.messages import TrainReply

__all__ = ["Givers", "ServerMethod", "nothing_beside", "server_method"]


@dataclass(frozen=True)
class Givers:
    """Who stands behind a section of the coming bank.

    Attributes:
        sites: all sites of the bank; a row's origin is a position in it.
        images: training images that the bank represents, by site.
        present: sites that answered in this round; the others' parts are of an earlier one.
        bank: the last bank; None in the first round.
        round: number of this one, from 1.
    """

    sites: tuple[str, ...]
    images: Mapping[str, int]
    present: Set[str]
    bank: MemoryBank | None
    round: int


class ServerMethod(Protocol):
    """A method's half at the server."""

    @property
    def enough(self) -> str:
        """Why no further round is worth it; "" while one may be."""

    def take(self, reply: TrainReply, bank: MemoryBank | None) -> Contribution | None:
        """What is kept of a reply's contribution; ``bank`` is what the site was sent.

        Raises CoresetError unless what it brings beside its rows is what was asked for.
        """

    def section(
        self, name: str, parts: Mapping[str, Part], givers: Givers
    ) -> tuple[Section, dict[str, Any]]:
        """A section of the bank and the facts that the round's record shows.

        Raises:
            CoresetError: nothing can be made of these parts.
            ConfigError: it takes more memory than ``server-memory-gb`` allows.
        """

    def beside(self) -> Mapping[str, np.ndarray]:
        """Arrays that travel beside the bank in the next train phase, by name."""

    def save(self, folder: Path) -> None:
        """Write what the next round needs beyond bank and contributions. Raises OSError."""

    def load(self, folder: Path) -> None:
        """Go on from `save`. Raises RunError if something is damaged or missing."""


def server_method(
    config: RunConfig, *, device: str, rules: Callable[..., Any] | None = None
) -> ServerMethod:
    """The half of the run's method at the server; ``rules`` makes those of optimisers."""
    module = import_module(f"fedpatchcore.server.methods.{config.method}")
    return module.half(config, device=device, rules=rules)


def nothing_beside(given: Contribution | None) -> str:
    """Why a reply that should bring rows alone does not; "" if it does."""
    more = {name for part in given.parts.values() for name in part.beside} if given else set()
    return f"arrays beside its rows that nobody asked for: {sorted(more)[:3]}" if more else ""
