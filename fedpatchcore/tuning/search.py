"""Successive halving: all candidates on a few pictures, the better half on twice as many, and on.

Jamieson, Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016. The settings told stay in to the end, so that every gain is over them. Memory,
neighbours and scores are tried last, beside the two best. Only candidates that were tried on the
same pictures are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import DataError, FedPatchCoreError, Halted, RunError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.tuning.candidates import AS_TOLD, Candidate, finer
from fedpatchcore.tuning.plan import Plan
from fedpatchcore.tuning.ranking import Ranked, ranked
from fedpatchcore.tuning.state import State
from fedpatchcore.tuning.trial import Trial, try_out

__all__ = ["BEST", "HIDDEN", "Found", "Search", "steps"]

SMALLEST = 12  # pictures of a step
STEPS = 3
BEST = 2  # beside which finer settings are tried
HIDDEN = 0.75  # a planted AUROC below which the parts' own texture hides most of what is planted


def steps(count: int) -> list[int]:
    """Numbers of pictures, doubling: of 60 they are 15, 30 and 60."""
    found = [count]
    while len(found) < STEPS and found[0] // 2 >= SMALLEST:
        found.insert(0, math.ceil(found[0] / 2))
    return found


@dataclass(frozen=True)
class Found:
    """What a search ended with.

    Attributes:
        ranking: of the last step, the best first.
        earlier: candidates that were given up before, with the figures of their last step.
        candidates: all, by name.
        left_out: by name, why.
        in_time: False if the time was up before all was tried.
        basis: whose figures these are, where it is not this machine; "" if it is.
    """

    ranking: list[Ranked]
    earlier: list[Ranked]
    candidates: dict[str, Candidate]
    left_out: dict[str, str]
    in_time: bool
    basis: str = ""

    @property
    def chosen(self) -> Ranked:
        """The highest planted AUROC of those that were tried on most pictures.

        Where even that one hardly tells what is planted, it says nothing of real defects: the
        settings told, if they were tried.
        """
        best = self.ranking[0]
        told = [one for one in self.ranking if one.name == AS_TOLD]
        return told[0] if told and best.auroc < HIDDEN else best

    def words(self) -> list[str]:
        """The choice in words, and what it does not say."""
        one = self.chosen
        over = ""
        if one.name != AS_TOLD and not math.isnan(one.gain):
            gain, between = one.gained
            over = f", {gain} over as told"
            if not math.isnan(one.gain_low):
                over = f", {gain} ({between}) over as told"
                over += "" if one.better else ": no more than chance may give"
        where = f" {self.basis}" if self.basis else ""
        best = self.ranking[0]
        hidden = (
            f"No candidate tells planted defects well from these parts' own texture (the best, "
            f"{best.name}, {best.auroc:.3f}; .5 is chance), so they say little of real ones: what "
            "was told is kept. Let real defects decide (fedpatchcore evaluate)."
        )
        alone = "What was told could not be tried, so no gain over it is known."
        return [
            f"chosen: {one.name}: planted AUROC {one.auroc:.3f} ({one.low:.3f} to {one.high:.3f})"
            f"{where}{over}, {one.seconds:.3f} s an image{' there' if where else ' here'}",
            "Planted defects are not real ones, and the best of many looks a little better than it "
            "is: the figures are for choosing, not for promising.",
            *([alone] if AS_TOLD in self.left_out else []),
            *([hidden] if best.auroc < HIDDEN else []),
        ]


@dataclass
class Search:
    """Tries candidates on plans within some minutes.

    Attributes:
        state: what is known already; every trial goes there.
        minutes: of trials; the first step is made whatever it takes.
        memory: bytes that a trial may take; 0: what the machine has free.
        begun: told of each trial: candidate, its number of pictures.
        progress: pictures done, and how many there are.
        attempt: `try_out`.
    """

    base: RunConfig
    plans: Sequence[Plan]
    candidates: Sequence[Candidate]
    state: State
    minutes: float
    cache: SiteCache | None = None
    memory: float = 0.0
    begun: Callable[[Candidate, int], None] = lambda candidate, count: None
    progress: Callable[[int, int], None] = lambda done, of: None
    attempt: Callable[..., Trial] = try_out
    _known: dict[str, Candidate] = field(default_factory=dict)
    _out_of_time: bool = False

    def run(self) -> Found:
        """All steps, as far as the time goes.

        Raises:
            DataError: no candidate could be tried.
            RunError: the state cannot be written.
        """
        alive = list(self.candidates)
        for place, count in enumerate(counts := steps(max(len(p.paths) for p in self.plans))):
            order = self._step(alive, count, must=place == 0)
            if place + 1 < len(counts):
                alive = self._better_half(order)
        self._finer(order, count)
        return self._found(counts)

    def _step(self, candidates: Sequence[Candidate], count: int, *, must: bool) -> list[Candidate]:
        """Try some on so many pictures; those that were tried, the best first."""
        tried = [one for one in candidates if self._try(one, count, must)]
        names = {one.name: one for one in tried}
        order = ranked({name: self.state.trials[name, count] for name in names}, AS_TOLD)
        return [names[one.name] for one in order]

    def _better_half(self, order: Sequence[Candidate]) -> list[Candidate]:
        kept = list(order[: math.ceil(len(order) / 2)])
        told = [one for one in order if one.name == AS_TOLD]
        return told + [one for one in kept if one.name != AS_TOLD]

    def _finer(self, order: Sequence[Candidate], count: int) -> None:
        for best in order[:BEST]:
            for one in finer(self.base, best):
                self._try(one, count, False)

    def _try(self, one: Candidate, count: int, must: bool) -> bool:
        """Whether there is a trial of it on so many pictures."""
        self._known.setdefault(one.name, one)
        if (one.name, count) in self.state.trials:
            return True
        if one.name in self.state.left_out:
            return False
        if not must and self.state.spent + self._expected(one, count) > 60 * self.minutes:
            self._out_of_time = True
            return False
        self.begun(one, count)
        plans = [plan.first(count) for plan in self.plans]
        try:
            trial = self.attempt(
                one.settings(self.base),
                plans,
                cache=self.cache,
                memory=self.memory,
                progress=self.progress,
            )
        except (Halted, RunError):
            raise
        except (FedPatchCoreError, MemoryError) as error:
            self.state.leave_out(one.name, str(error) or "it takes more memory than there is")
            return False
        self.state.add(one.name, count, trial)
        return True

    def _expected(self, one: Candidate, count: int) -> float:
        """Seconds that a trial may take, by the last one of it or of any."""
        own = [(n, t) for (name, n), t in self.state.trials.items() if name == one.name]
        every = own or [(n, t) for (_, n), t in self.state.trials.items()]
        return max(t.spent * count / n for n, t in every[-1:]) if every else 0.0

    def _found(self, counts: Sequence[int]) -> Found:
        by_count = {
            count: {
                n: t for (n, c), t in self.state.trials.items() if c == count and n in self._known
            }
            for count in counts
        }
        full = [count for count in counts if len(by_count[count]) > 1]
        full = full or [count for count in counts if by_count[count]]
        if not full:
            why = next(iter(self.state.left_out.values()), "there is none")
            raise DataError(f"no candidate could be tried: {why}")
        last = full[-1]
        ranking, seen = ranked(by_count[last], AS_TOLD), set(by_count[last])
        earlier = []
        for count in reversed([count for count in counts if count < last]):
            some = ranked(by_count[count], AS_TOLD)
            earlier += [one for one in some if one.name not in seen]
            seen |= set(by_count[count])
        left_out = {n: why for n, why in self.state.left_out.items() if n in self._known}
        return Found(ranking, earlier, self._known, left_out, not self._out_of_time)
