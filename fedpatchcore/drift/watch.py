"""The watch over one product and one bank: takes parts one by one, signals what is not as it was.

The reference is the first accepted parts, so many; of sharpness and brightness the training images
where there are enough. Then scores and uncovered patches of accepted parts, and sharpness and
brightness of all parts, run through a `Cusum` each, by their `Reference.score`, and the stopped
parts of each group through limits of a p-chart (`Usual`): a group signals as soon as its count is
beyond them, full or not, for it can only grow. Before the reference is there, groups are held
against what the bank promised, or what was usual by the bank before.

A dirty lens may stop every part, and then no part is accepted: so looks count of all of them, and
what a rate means is told by the looks of the parts that were stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from fedpatchcore.drift.causes import Moved, likeliest
from fedpatchcore.drift.cusum import Cusum
from fedpatchcore.drift.proportions import Usual
from fedpatchcore.drift.reference import Reference

__all__ = ["FIGURES", "LOOKS", "Part", "Rules", "Signal", "Watch"]

FIGURES = ("score", "uncovered", "sharpness", "brightness")
LOOKS = ("sharpness", "brightness")
SIDES = dict.fromkeys(FIGURES, ("up", "down")) | {"uncovered": ("up",)}
TOLERANCES = {  # of the reference's median, and in the figure's own unit: the larger counts
    "score": (0.01, 0.0),
    "uncovered": (0.0, 0.01),
    "sharpness": (0.03, 0.0),
    "brightness": (0.0, 2.0),
}
RECENT = 240  # parts that charts show
GROUPS = 40
SHOWN = 6  # pictures of a signal
FEWEST = 20  # values that make a reference
KEPT = 12  # parts of the reference that are named, to be shown beside


@dataclass(frozen=True)
class Rules:
    """How much evidence is asked for.

    Attributes:
        reference: accepted parts that say what is usual, at least 20.
        group: parts of a group of the p-chart.
        k, h: of `Cusum`, in standard deviations.
    """

    reference: int = 100
    group: int = 50
    k: float = 1.0
    h: float = 5.0


@dataclass(frozen=True)
class Part:
    """One part that was judged.

    Attributes:
        stopped: None where there is no threshold.
        figures: by name of `FIGURES`; one that is missing is not measured.
    """

    id: int
    stopped: bool | None
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Signal:
    """Something is not as it was.

    Attributes:
        chart: "rate" or one of `FIGURES`.
        side: "up" or "down".
        cause: of `fedpatchcore.drift.causes.CAUSES`.
        since: the part with which the change began, as the chart has it.
        parts: those that set it off, the last `SHOWN`.
        moved: the figures since then against their references.
        counts: of a rate: stopped, of, the most (or fewest) that chance explains.
    """

    chart: str
    side: str
    cause: str
    since: int
    parts: tuple[int, ...]
    moved: Mapping[str, Moved]
    counts: tuple[int, int, int] | None = None

    def told(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"parts": list(self.parts), "counts": self.counts and [*self.counts]}


@dataclass
class Group:
    """Parts in a row, and how many of them were stopped."""

    of: int = 0
    stopped: int = 0
    first: int = 0
    signalled: bool = False


@dataclass
class Watch:
    """What is known of one product and one bank; plain values only, see `told`.

    Attributes:
        promised: share of good parts that the bank's threshold stops, as it promises; None: it
            promises nothing.
        before: stopped and judged parts of the reference under the bank before; None: none.
        rate: stopped and judged parts of this reference; None while it is gathered.
        usual_parts: some accepted parts of the reference, to be shown.
        looks_from: "training" or "parts".
        recent: of the last accepted parts ``[id, stopped, scores…]``, of all that were judged.
    """

    rules: Rules = field(default_factory=Rules)
    promised: float | None = None
    before: tuple[int, int] | None = None
    references: dict[str, Reference] = field(default_factory=dict)
    gathered: dict[str, list[float]] = field(default_factory=dict)
    counted: tuple[int, int] = (0, 0)
    rate: tuple[int, int] | None = None
    usual_parts: list[int] = field(default_factory=list)
    looks_from: str = "parts"
    sums: dict[str, Cusum] = field(default_factory=dict)
    group: Group = field(default_factory=Group)
    groups: list[list[int]] = field(default_factory=list)
    recent: list[list[Any]] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether the reference is there."""
        return self.rate is not None

    def learn_looks(self, looks: Mapping[str, Sequence[float]]) -> bool:
        """Sharpness and brightness of training images → whether they are the reference now.

        They are not where they are fewer than 20, or the parts' own came first.
        """
        if self.ready or self.looks_from == "training" or min(map(len, looks.values())) < FEWEST:
            return False
        for name in LOOKS:
            self.references[name] = _reference(name, looks[name])
            self.gathered.pop(name, None)
        self.looks_from = "training"
        return True

    def take(self, part: Part) -> list[Signal]:
        """One more part → what it sets off."""
        row: list[Any] = [part.id, part.stopped, *(part.figures.get(one) for one in FIGURES)]
        self.recent.append([*row, {}])
        del self.recent[:-RECENT]
        found = [] if part.stopped is None else self._count(part)
        for name, value in part.figures.items():
            if name in LOOKS or not part.stopped:
                found += self._measure(name, value)
        if not part.stopped:
            self._complete(part)
        return found

    # -- the figures ------------------------------------------------------------------

    def _measure(self, name: str, value: float) -> list[Signal]:
        known = self.references.get(name)
        if known is None:
            self.gathered.setdefault(name, []).append(value)
            return []
        now = self.sums.get(name, Cusum()).step(known.score(value), self.rules.k)
        self.sums[name] = now
        self.recent[-1][-1][name] = [round(now.up, 2), round(now.down, 2)]
        for side in SIDES[name]:
            if (now.up if side == "up" else now.down) > self.rules.h:
                self.sums[name] = Cusum()
                return [self._signal(name, side, now.rising if side == "up" else now.falling)]
        return []

    def _complete(self, part: Part) -> None:
        if self.ready:
            return
        if len(self.usual_parts) < KEPT:
            self.usual_parts.append(part.id)
        accepted = len(self.gathered.get("score", ()))
        if accepted < self.rules.reference:
            return
        for name, values in self.gathered.items():
            if len(values) >= FEWEST:
                self.references[name] = _reference(name, values)
        self.gathered, self.rate = {}, self.counted if self.counted[1] else (0, accepted)
        self.group = Group()

    def moved(self, count: int) -> dict[str, Moved]:
        """The figures of the last ``count`` parts against their references."""
        return self._moved(self.recent[-max(count, 1) :])

    def _moved(self, rows: list[list[Any]], looks: list[list[Any]] | None = None):
        """``looks``: other rows that tell how pictures look."""
        told = {}
        for at, name in enumerate(FIGURES):
            those = (rows if looks is None else looks) if name in LOOKS else _accepted(rows)
            values = [one[2 + at] for one in those if one[2 + at] is not None]
            if name in self.references and values:
                known, now = self.references[name], median(values)
                told[name] = Moved(known.middle, now, known.apart(now))
        return told

    def _signal(self, chart: str, side: str, length: int) -> Signal:
        those = (self.recent if chart in LOOKS else _accepted(self.recent))[-length:]
        numbers = [one[0] for one in those]
        first = next(at for at, one in enumerate(self.recent) if one[0] == numbers[0])
        moved = self._moved(self.recent[first:])
        cause = likeliest(chart, side, moved)
        return Signal(chart, side, cause, numbers[0], tuple(numbers[-SHOWN:]), moved)

    # -- the rate of stopped parts ----------------------------------------------------

    def usual(self) -> Usual | None:
        """What share is usually stopped; None where nothing says so yet."""
        counted = self.rate or self.before
        if counted is not None:
            return Usual.counted(*counted)
        return None if self.promised is None else Usual(self.promised)

    def _count(self, part: Part) -> list[Signal]:
        if not self.ready:
            self.counted = (self.counted[0] + bool(part.stopped), self.counted[1] + 1)
        group = self.group
        group.first = group.first or part.id
        group.of, group.stopped = group.of + 1, group.stopped + bool(part.stopped)
        usual, full = self.usual(), group.of >= self.rules.group
        found: list[Signal] = []
        if usual is not None:
            least, most = usual.limits(self.rules.group)
            if group.stopped > most and not group.signalled:
                group.signalled = True
                found.append(self._rate("up", most))
            if full and group.stopped < least:
                found.append(self._rate("down", least))
        if full:
            self.groups.append([group.first, part.id, group.of, group.stopped])
            del self.groups[:-GROUPS]
            self.group = Group()
        return found

    def _rate(self, side: str, limit: int) -> Signal:
        group = self.group
        within = self.recent[-group.of :]
        those = [one for one in within if one[1]] if side == "up" else within
        moved = self._moved(within, looks=those)
        known = self.ready or self.before is not None
        cause = likeliest("rate", side, moved)
        if not known and cause == "defects":
            cause = "promise"
        counts = (group.stopped, group.of, limit)
        numbers = tuple(one[0] for one in those[-SHOWN:])
        return Signal("rate", side, cause, group.first, numbers, moved, counts)

    # -- what people decide, and what is kept -----------------------------------------

    def restart(self) -> None:
        """It is mended: sums and group begin at nothing, the reference stays."""
        self.sums, self.group = {}, Group()

    def told(self) -> dict[str, Any]:
        """As plain values; `of` reads them."""
        told = asdict(self)
        known = self.references.items()
        return told | {"references": {n: [list(one.values), one.tolerance] for n, one in known}}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Watch:
        """What `told` said. Raises ValueError, KeyError or TypeError if it is none."""
        plain = dict(told)
        plain["rules"] = Rules(**told["rules"])
        plain["references"] = {
            name: Reference(tuple(values), tolerance)
            for name, (values, tolerance) in told["references"].items()
        }
        plain["sums"] = {name: Cusum(**one) for name, one in told["sums"].items()}
        plain["group"] = Group(**told["group"])
        for name in ("before", "counted", "rate"):
            plain[name] = None if told[name] is None else tuple(told[name])
        return cls(**plain)


def _accepted(rows: list[list[Any]]) -> list[list[Any]]:
    return [one for one in rows if not one[1]]


def _reference(name: str, values: Sequence[float]) -> Reference:
    share, least = TOLERANCES[name]
    return Reference.of(values, max(least, share * abs(median(values))))
