"""Which planted defects a threshold finds: counts by kind, size and contrast, and their curves.

What is counted: a picture of a good part with one planted defect has a score above the threshold.
As in the handbook (`fedpatchcore.metrics.detection_probability`) a hit is a hit whatever caused it;
so the same pictures as they are stand beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedpatchcore.metrics.detection_probability import NoPod, Pod, fit_pod
from fedpatchcore.metrics.rates import Rate, percent

__all__ = [
    "LIMITS",
    "Line",
    "PlantedFound",
    "planted_told",
    "sized",
    "total_found",
    "without_curve",
]

Cell = tuple[str, float, float]
NONE = Rate(0, 0)

LIMITS = (
    "Planted defects are not real ones: this says which of such marks this threshold finds in "
    "these pictures, not what share of your defects; each counts as a trial of its own, and "
    "several in copies of one picture make the bounds too good."
)


@dataclass(frozen=True)
class Line:
    """A row of the table: defects of one kind, of one contrast, or all.

    Attributes:
        sizes: found by size.
    """

    what: str
    name: str
    found: Rate
    sizes: Mapping[float, Rate]
    curve: Pod | NoPod

    @property
    def title(self) -> str:
        """Its name where no column says what it is of: ``contrast 6.0%``."""
        return f"contrast {self.name}" if self.what == "contrast" else self.name

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` keeps it."""
        return {
            "what": self.what,
            "name": self.name,
            "sizes": {f"{size:g}": [one.count, one.of] for size, one in self.sizes.items()},
            **self.curve.told(),
        }

    @property
    def ends(self) -> tuple[str, str, str]:
        """a50, a90 and a90/95 in per cent of the shorter side; dashes where there are none.

        Sizes beyond those tried are told as ``> 14%`` or ``< 2%``: a curve says nothing there.
        """
        if isinstance(self.curve, NoPod):
            return "–", "–", "–"
        low, high = float(self.curve.sizes.min()), float(self.curve.sizes.max())
        every = (self.curve.size(0.5), self.curve.size(0.9), self.curve.sure_size())
        return tuple(sized(one, low, high) for one in every)  # type: ignore[return-value]


def sized(size: float, low: float, high: float) -> str:
    """A size as people read it, none beyond those that were tried."""
    if size > high:
        return f"> {percent(high)}"
    return f"< {percent(low)}" if size < low else percent(size)


@dataclass(frozen=True)
class PlantedFound:
    """Hits and trials.

    Attributes:
        cells: (kind, size, contrast) → found; sizes are shares of the picture's shorter side,
            contrasts of the full range. Cells without a trial are left out.
        pictures: planted into.
        stopped: of these pictures as they are, above the threshold.
        learnt: whether the bank learnt from these very pictures.
    """

    cells: Mapping[Cell, Rate] = field(default_factory=dict)
    pictures: int = 0
    stopped: Rate = NONE
    learnt: bool = False

    @property
    def found(self) -> Rate:
        """Of all planted defects."""
        return sum(self.cells.values(), NONE)

    def __add__(self, other: PlantedFound) -> PlantedFound:
        every = {**self.cells, **other.cells}
        cells = {c: self.cells.get(c, NONE) + other.cells.get(c, NONE) for c in every}
        return PlantedFound(
            dict(sorted(cells.items())),
            self.pictures + other.pictures,
            self.stopped + other.stopped,
            self.learnt or other.learnt,
        )

    @classmethod
    def of_counts(
        cls,
        cells: Sequence[Cell],
        found: Sequence[int],
        of: Sequence[int],
        *,
        pictures: int,
        stopped: int,
        learnt: bool,
    ) -> PlantedFound:
        """From counts in the order of the cells."""
        rates = {c: Rate(n, m) for c, n, m in zip(cells, found, of, strict=True) if m}
        return cls(rates, pictures, Rate(stopped, pictures), learnt)

    @classmethod
    def of_result(cls, result: Mapping[str, Any], cells: Sequence[Cell]) -> PlantedFound | None:
        """From the record of a site's evaluation; None where none was planted, or it is kept."""
        if not result.get("planted_pictures"):
            return None
        return cls.of_counts(
            cells,
            result["planted_found"],
            result["planted_of"],
            pictures=result["planted_pictures"],
            stopped=result["planted_stopped"],
            learnt=bool(result["planted_learnt"]),
        )

    def counts(self, cells: Sequence[Cell]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Found, and of how many, in the order of the cells."""
        rates = [self.cells.get(cell, NONE) for cell in cells]
        return tuple(one.count for one in rates), tuple(one.of for one in rates)

    def lines(self) -> list[Line]:
        """All, then by kind, then by contrast."""
        kinds = dict.fromkeys(kind for kind, _, _ in self.cells)
        contrasts = sorted({contrast for _, _, contrast in self.cells})
        found = [self._line("all", "all", self.cells)]
        for kind in kinds:
            found.append(self._line("kind", kind, self._some(lambda c, k=kind: c[0] == k)))
        for one in contrasts:
            cells = self._some(lambda c, v=one: c[2] == v)
            found.append(self._line("contrast", percent(one), cells))
        return found

    def _some(self, wanted) -> dict[Cell, Rate]:
        return {cell: rate for cell, rate in self.cells.items() if wanted(cell)}

    @staticmethod
    def _line(what: str, name: str, cells: Mapping[Cell, Rate]) -> Line:
        by_size: dict[float, Rate] = {}
        for (_, size, _), rate in cells.items():
            by_size[size] = by_size.get(size, NONE) + rate
        by_size = dict(sorted(by_size.items()))
        return Line(what, name, sum(by_size.values(), NONE), by_size, _curve(by_size))

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` and ``--json`` keep it."""
        return {
            "pictures": self.pictures,
            "learnt": self.learnt,
            "as_they_are": [self.stopped.count, self.stopped.of],
            "cells": [
                {"kind": kind, "size": size, "contrast": contrast, "found": r.count, "of": r.of}
                for (kind, size, contrast), r in self.cells.items()
            ],
            "lines": [line.told() for line in self.lines()],
            "limits": LIMITS,
        }

    def brief(self) -> dict[str, float]:
        """What a bank's header keeps: found, of, and where there is a curve a50, a90, a90_95."""
        all_of_them = self.lines()[0]
        told: dict[str, float] = {"found": self.found.count, "of": self.found.of}
        if isinstance(all_of_them.curve, Pod):
            curve = all_of_them.curve.told()
            told |= {key: curve[key] for key in ("a50", "a90", "a90_95") if curve[key] is not None}
        return told


def planted_told(record: Mapping[str, Any], cells: Sequence[Cell]) -> dict[str, Any]:
    """A round's record → by product what was found at each site, and at all of them together."""
    by_product: dict[str, dict[str, PlantedFound]] = {}
    totals = (record.get("figures") or {}).get("products") or {}
    added = {name: PlantedFound.of_result(told, cells) for name, told in sorted(totals.items())}
    if totals:
        return {n: {"sites": {}, "all": one.told()} for n, one in added.items() if one}
    for site, told in sorted((record.get("evaluate") or {}).items()):
        for product, result in (told.get("products") or {}).items():
            if (found := PlantedFound.of_result(result, cells)) is not None:
                by_product.setdefault(product, {})[site] = found
    return {
        product: {
            "sites": {site: one.told() for site, one in own.items()},
            "all": total_found(own.values()).told(),
        }
        for product, own in sorted(by_product.items())
    }


def _curve(sizes: Mapping[float, Rate]) -> Pod | NoPod:
    """From counts by size."""
    tried = [size for size, rate in sizes.items() for _ in range(rate.of)]
    found = [at < rate.count for rate in sizes.values() for at in range(rate.of)]
    return fit_pod(tried, found)


def total_found(every: Iterable[PlantedFound]) -> PlantedFound:
    """Of all of them together."""
    return sum(every, PlantedFound())


def without_curve(lines: Iterable[Line]) -> list[str]:
    """Why lines have no curve, those of one reason together: ``blob, blur: 19 trials are …``."""
    names: dict[str, list[str]] = {}
    for one in lines:
        if isinstance(one.curve, NoPod):
            names.setdefault(one.curve.reason, []).append(one.title)
    return [f"{', '.join(own)}: {reason}" for reason, own in names.items()]
