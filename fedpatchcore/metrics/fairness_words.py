"""How evenly a bank serves its sites, in one sentence, with the names apart from the words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fedpatchcore.metrics.areas import Area
from fedpatchcore.metrics.fairness import FIGURES, Fairness
from fedpatchcore.metrics.rates import Rate, percent

__all__ = ["Words", "difference", "index", "served_words"]

NAMED = 12  # sites without a figure


@dataclass(frozen=True)
class Words:
    """Words before a site's name, the name, words after it, and of which sites nothing is known.

    Attributes:
        missing: what else to say of sites without figures, or with withheld ones; may be empty.
    """

    before: str
    site: str = ""
    after: str = ""
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([f"{self.before}{self.site}{self.after}", *self.missing])


def served_words(figures: Mapping[str, Fairness]) -> Words:
    """``The worst served site is plant-e: image AUROC 0.812 (0.72–0.88), the best …``.

    By the first of `FIGURES` that two sites have: AUROC depends on no threshold.
    """
    missing = _absent(figures)
    several = [name for name in FIGURES if name in figures and len(figures[name].served) > 1]
    if not several:
        alone = {site for one in figures.values() for site in one.served}
        if len(alone) == 1:
            return Words("Fairness compares sites, and only ", *alone, " has figures.", missing)
        return Words("Fairness compares sites, and no two of them have a figure.", missing=missing)
    name = several[0]
    one = figures[name]
    if one.worst is None or one.best is None:
        told = _figure(name, next(iter(one.served.values())), intervals=False)
        words = Words(f"All {len(one.served)} sites are served alike: {told} at each.")
        return Words(words.before, missing=missing)
    other = FIGURES[name] if name != "image_auroc" else "AUROC"
    after = (
        f": {_figure(name, one.served[one.worst])}, while {one.best} has the best {other}, "
        f"{one.served[one.best]}. {_chance(one)}"
    )
    after += " Not all make the same products, which may be another reason." * one.unlike
    return Words("The worst served site is ", one.worst, after, missing)


def difference(figure: Fairness, value: float) -> str:
    """A gap or a deviation as printed: of AUROCs as they are, of rates in percentage points."""
    if not math.isfinite(value):
        return "–"
    if any(isinstance(one, Rate) for one in figure.served.values()):
        return percent(value)
    return f"{value:.3f}"


def index(value: float) -> str:
    """Jain's index as printed; "–" where undefined."""
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _figure(name: str, told: Area | Rate, *, intervals: bool = True) -> str:
    if intervals:
        return f"{FIGURES[name]} {told}"
    share = percent(told.share) if isinstance(told, Rate) else f"{told.share:.3f}"
    return f"{FIGURES[name]} {share}"


def _chance(one: Fairness) -> str:
    gap = difference(one, one.gap).replace("%", " percentage points")
    if one.within_chance:
        return f"This gap of {gap} is within chance: one true value fits what all sites tested."
    return f"This gap of {gap} is more than chance: no one true value fits what all sites tested."


def _absent(figures: Mapping[str, Fairness]) -> tuple[str, ...]:
    """Sites without figures, and those that keep theirs: one sentence for the same sites."""
    none: dict[tuple[str, ...], list[str]] = {}
    kept: dict[tuple[str, ...], list[str]] = {}
    for name, one in figures.items():
        if one.missing:
            none.setdefault(one.missing, []).append(FIGURES[name])
        if one.withheld:
            kept.setdefault(one.withheld, []).append(FIGURES[name])
    told = [f"Not told: {_joined(what)} of {_listed(sites)}." for sites, what in none.items()]
    return (
        *told,
        *(f"Withheld: {_joined(what)} of {_listed(sites)}." for sites, what in kept.items()),
    )


def _joined(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _listed(sites: tuple[str, ...]) -> str:
    more = f" and {len(sites) - NAMED:,} more" if len(sites) > NAMED else ""
    return ", ".join(sites[:NAMED]) + more
