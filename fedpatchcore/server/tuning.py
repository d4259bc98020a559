"""The server's half of a run that chooses settings: steps, survivors, the choice.

Successive halving over sites (`fedpatchcore.tuning.search`): all candidates on a few pictures at
every site, the better half on twice as many, at last the finer settings beside the two best. Only
candidates that every site has tried in a step are compared; a site's figure is the mean over its
products. Which of two candidates is better is said by the worst site or by the median one. A site
is believed: one that lies can spoil the choice by "worst", by "median" only where it tips it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import CoresetError, QuorumError
from fedpatchcore.texts import NAME, counted, one_line
from fedpatchcore.tuning.candidates import (
    AS_TOLD,
    Candidate,
    coarse,
    finer,
    known_backbones,
)
from fedpatchcore.tuning.ranking import Ranked
from fedpatchcore.tuning.search import BEST, Found, steps
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.tuning import (
    TriedOut,
    TuneQuestion,
    TuneReply,
    pack_tune_question,
    unpack_tune,
)

__all__ = ["TuneRounds"]

NAN = math.nan


@dataclass(frozen=True)
class _Site:
    """A candidate at a site: means over its products."""

    auroc: float
    low: float
    high: float
    seconds: float
    memory: int
    images: int


@dataclass
class TuneRounds:
    """Asks step by step, and knows the choice in the end.

    Attributes:
        asked: the sites that take part.
        say: takes a line for the log; ``tell`` an event and its facts.
        sites: by step (number of pictures) and candidate what each site said.
    """

    config: RunConfig
    asked: tuple[str, ...] = ()
    say: Callable[[str], None] = lambda line: None
    tell: Callable[..., None] = lambda event, **facts: None
    sites: dict[int, dict[str, dict[str, _Site]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    what, kind = "choosing settings", "query.tune"  # in words; of Flower's messages
    phase = "train"

    def __post_init__(self) -> None:
        self._counts = steps(self.config.tune_images)
        self._known: dict[str, Candidate] = {}
        self._asked = coarse(self.config, known_backbones(self.config))
        self._step, self._finer = 0, False
        self._answered: set[str] = set()
        self._known |= {one.name: one for one in self._asked}

    @property
    def number(self) -> int:
        """Of the step, from 1."""
        return self._step + 1 + self._finer

    @property
    def exchange(self) -> str:
        """The step in hand; "" when all is known."""
        images = self._counts[self._step]
        told = f"{counted(len(self._asked), 'candidate')} on {counted(images, 'image')}"
        return told if self._asked else ""

    @property
    def candidates(self) -> TuneQuestion:
        """What every site is asked now."""
        changes = tuple(dict(one.changes) for one in self._asked)
        return TuneQuestion(changes, self._counts[self._step])

    def question(self, site: str) -> Packet:
        """The same for every site."""
        return pack_tune_question(self.candidates)

    def take(self, packet: Packet, site: str) -> None:
        """A site's answer. Raises a typed error where it cannot be used."""
        reply = unpack_tune(packet, self.candidates)
        if reply.site != site:
            raise QuorumError(f"the node of site '{site}' now calls itself '{reply.site}'")
        self.answered(reply)
        told = {"candidates": len({one.candidate for one in reply.tried})}
        told |= {"left_out": len(reply.left_out), "seconds": reply.seconds}
        self.tell("tried", round=self.number, site=site, **told)

    def without(self, site: str, reason: str) -> None:
        """A site that could not answer is asked no more."""
        self.asked = tuple(one for one in self.asked if one != site)

    def answered(self, reply: TuneReply) -> None:
        """Figures of a site. Raises CoresetError for a second answer in one step."""
        if reply.site in self._answered:
            raise CoresetError(f"a second answer from site '{reply.site}' in one step")
        self._answered.add(reply.site)
        here = self.sites.setdefault(self._counts[self._step], {})
        for at, one in enumerate(self._asked):
            lines = [line for line in reply.tried if line.candidate == at]
            if lines:
                here.setdefault(one.name, {})[reply.site] = _mean(lines)
            else:
                why = reply.left_out.get(at, "it was not told of")
                told = f"site '{one_line(reply.site, NAME)}': {why}"
                if self.left_out.setdefault(one.name, told) == told:
                    self.say(f"candidate {one.name} left out: {told}")

    def close(self) -> None:
        """End the step. Raises QuorumError if too few sites answered, or nothing is left."""
        answered, self._answered = self._answered, set()
        if len(answered) < self.config.min_sites:
            raise QuorumError(
                f"{len(answered)} of {self.config.min_sites} sites tried candidates: see their "
                "reasons above"
            )
        count = self._counts[self._step]
        here = self.sites.get(count, {})
        for name in [name for name, told in here.items() if set(told) != answered]:
            missing = sorted(answered - set(here[name]))
            if not self._finer or name in {one.name for one in self._asked}:
                self.left_out.setdefault(name, f"not tried at {', '.join(missing)}")
                del here[name]
        ranking = self._ranked(count)
        if not ranking:
            why = next(iter(self.left_out.values()), "there is none")
            raise QuorumError(f"no candidate could be tried at every site: {why}")
        best = ranking[0]
        self.say(
            f"step {self.number}, {counted(count, 'image')}: best {best.name}, "
            f"planted AUROC {best.auroc:.3f} "
            f"at the {self.config.tune} site of {len(answered)}"
        )
        self._next(ranking)

    def _next(self, ranking: Sequence[Ranked]) -> None:
        if self._finer:
            self._asked = []
        elif self._step + 1 < len(self._counts):
            self._step += 1
            kept = [one.name for one in ranking[: math.ceil(len(ranking) / 2)]]
            told = [AS_TOLD] if any(one.name == AS_TOLD for one in ranking) else []
            self._asked = [self._known[n] for n in told + [n for n in kept if n != AS_TOLD]]
        else:
            self._finer = True
            self._asked = [
                one
                for best in ranking[:BEST]
                for one in finer(self.config, self._known[best.name])
                if one.name not in self._known
            ]
            self._known |= {one.name: one for one in self._asked}

    def finish(self) -> dict[str, Any]:
        """The choice by name, and its figure."""
        chosen = self.found().chosen
        return {"chosen": chosen.name, "auroc": chosen.auroc}

    def found(self) -> Found:
        """The choice, as `fedpatchcore.report.tune_page.write_tune` takes it."""
        last = self._counts[self._step]
        ranking = self._ranked(last)
        seen, earlier = {one.name for one in ranking}, []
        for count in reversed(self._counts[: self._step]):
            some = [one for one in self._ranked(count) if one.name not in seen]
            earlier += some
            seen |= {one.name for one in some}
        left_out = {name: why for name, why in self.left_out.items() if name not in seen}
        sites = {site for told in self.sites[last].values() for site in told}
        basis = f"of the {self.config.tune} of {len(sites)} sites, a mean over its products"
        return Found(ranking, earlier, self._known, left_out, True, basis)

    def write(self, folder: Path) -> dict[str, str]:
        """The files of `write_tune`; paths of the settings and of their page. RunError."""
        from fedpatchcore.report.tune_page import write_tune

        found = self.found()
        for line in found.words():
            self.say(line)
        paths = write_tune(folder, found, self.config, sites=self.told())
        return {
            "settings": str(paths["settings"].resolve()),
            "report": str(paths["page"].resolve()),
        }

    def told(self) -> dict[str, Any]:
        """By number of pictures, candidate and site: as ``tune.json`` keeps it."""
        return {
            str(count): {
                name: {site: vars(one) for site, one in sorted(own.items())}
                for name, own in sorted(here.items())
            }
            for count, here in sorted(self.sites.items())
        }

    def _ranked(self, count: int) -> list[Ranked]:
        here = self.sites.get(count, {})
        base = here.get(AS_TOLD)
        over = self._chosen(base)[0] if base else NAN
        found = []
        for name, own in here.items():
            auroc, low, high = self._chosen(own)
            gain = auroc - over if base else NAN
            seconds = max(one.seconds for one in own.values())
            memory = max(one.memory for one in own.values())
            images = min(one.images for one in own.values())
            figures = (auroc, low, high, gain, NAN, NAN, seconds, memory, images)
            found.append(Ranked(name, *figures))
        return sorted(found, key=lambda one: (-one.auroc, one.seconds, one.name))

    def _chosen(self, own: Mapping[str, _Site]) -> tuple[float, float, float]:
        """AUROC of the site that says, with its interval; of the median those of the medians."""
        if self.config.tune == "worst":
            worst = min(own.values(), key=lambda one: one.auroc)
            return worst.auroc, worst.low, worst.high
        every = own.values()
        auroc, low, high = (
            median(getattr(one, k) for one in every) for k in ("auroc", "low", "high")
        )
        return auroc, low, high


def _mean(lines: Sequence[TriedOut]) -> _Site:
    count = len(lines)
    auroc, low, high = (
        sum(getattr(line, key) for line in lines) / count for key in ("auroc", "low", "high")
    )
    return _Site(
        auroc,
        low,
        high,
        max(line.seconds for line in lines),
        max(line.memory for line in lines),
        min(line.images for line in lines),
    )
