"""How evenly a bank serves its sites: Jain's index, gap, worst site, standard deviation.

Three figures are looked at, each site counting once: image AUROC, false alarms and missed defects
at the site's threshold. Jain's index (Jain, Chiu, Hawe, *A quantitative measure of fairness and
discrimination*, DEC-TR-301, 1984) is of what a site gets: of its AUROC, of the share of its good
parts that pass, of the share of its defects that are found. It is 1 where all get the same, 1/n
where one of n gets all.

Of several sites one is always the worst. A gap is within chance where one and the same true value
lies in the intervals of all sites, which are so wide that together they hold the true ones nine
times in ten (each at 1 - 0.1/n, Bonferroni).

A site without a figure is named, never a 0; a figure that a private site keeps is withheld.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import pstdev
from typing import Any

from fedpatchcore.errors import DataError
from fedpatchcore.metrics.areas import Area
from fedpatchcore.metrics.comparison import METHODS, SHARED, last_evaluated
from fedpatchcore.metrics.rates import SURE, Rate

__all__ = ["FIGURES", "BankFairness", "Fairness", "fairness", "fairness_told", "jain", "makers"]

FIGURES = {
    "image_auroc": "image AUROC",
    "misses": "missed defects",
    "false_alarms": "false alarms",
}
NAN = math.nan
ROUNDING = 1e-12  # of a mean of several figures
USED = "federated"  # the bank whose verdicts count


def jain(values: Sequence[float]) -> float:
    """(Σx)² / (n Σx²), in [1/n, 1]; NaN where all are 0.

    Args:
        values: one or more, finite and not negative.

    Raises:
        DataError: for values that are none such.

    >>> jain([1, 0, 0, 0])
    0.25
    """
    if not len(values):
        raise DataError("Jain's index is of one value or more")
    if not all(math.isfinite(one) and one >= 0 for one in values):
        raise DataError("Jain's index is of finite values that are not negative")
    if not (most := max(values)):
        return NAN
    parts = [one / most for one in values]  # squares of the values might vanish or overflow
    return min(1.0, math.fsum(parts) ** 2 / (len(parts) * math.fsum(x * x for x in parts)))


@dataclass(frozen=True)
class Fairness:
    """One figure over the sites.

    Attributes:
        served: by site, those that have one.
        rising: whether more of it is better.
        missing: sites without one.
        withheld: sites that keep theirs.
        unlike: whether sites were judged on other products than each other.
    """

    served: Mapping[str, Area | Rate]
    rising: bool = True
    missing: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    unlike: bool = False

    @cached_property
    def _got(self) -> dict[str, float]:
        """What each site gets: more is better."""
        return {s: one.share if self.rising else 1 - one.share for s, one in self.served.items()}

    @property
    def worst(self) -> str | None:
        """The site that gets least; None where all get the same."""
        return min(self._got, key=lambda s: (self._got[s], s)) if self.gap > 0 else None

    @property
    def best(self) -> str | None:
        """The site that gets most; None where all get the same."""
        return min(self._got, key=lambda s: (-self._got[s], s)) if self.gap > 0 else None

    @cached_property
    def gap(self) -> float:
        """Best minus worst, 0 or more; NaN of no site."""
        shares = [one.share for one in self.served.values()]
        gap = max(shares) - min(shares) if shares else NAN
        return 0.0 if gap < ROUNDING else gap

    @property
    def mean(self) -> float:
        """Of the figure, each site once; NaN of no site."""
        shares = [one.share for one in self.served.values()]
        return math.fsum(shares) / len(shares) if shares else NAN

    @property
    def deviation(self) -> float:
        """Standard deviation over these sites, which are all there are (divided by n)."""
        return pstdev(one.share for one in self.served.values()) if self.served else NAN

    @property
    def jain(self) -> float:
        """Jain's index of what sites get; NaN of no site, or where nobody gets anything."""
        return jain(list(self._got.values())) if self._got else NAN

    @cached_property
    def within_chance(self) -> bool | None:
        """Whether one true value would explain every site's figure; None of fewer than two."""
        if len(self.served) < 2:
            return None
        sure = 1 - (1 - SURE) / len(self.served)
        ends = [one.within(sure) for one in self.served.values()]
        return max(low for low, _ in ends) <= min(high for _, high in ends)

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` keeps it."""
        return {
            "sites": len(self.served),
            "mean": self.mean,
            "jain": self.jain,
            "gap": self.gap,
            "within_chance": self.within_chance,
            "deviation": self.deviation,
            "worst": self._told(self.worst),
            "best": self._told(self.best),
            "missing": list(self.missing),
            "withheld": list(self.withheld),
            "unlike_products": self.unlike,
        }

    def _told(self, site: str | None) -> dict[str, Any] | None:
        return None if site is None else {"site": site} | self.served[site].told()


Figures = dict[str, Fairness]  # by name, see `FIGURES`


@dataclass(frozen=True)
class BankFairness:
    """How evenly one bank serves: of each product, and of all products of a site together.

    Over all products a site's AUROC is the mean of its products', its rates are sums.
    """

    all: Figures
    products: Mapping[str, Figures] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` keeps it."""
        return {
            "all": {name: one.told() for name, one in self.all.items()},
            "products": {
                product: {name: one.told() for name, one in own.items()}
                for product, own in self.products.items()
            },
        }


def fairness(
    rows: Iterable[Mapping[str, Any]], made: Mapping[str, Iterable[str]] | None = None
) -> dict[str, BankFairness]:
    """Rows of `fedpatchcore.metrics.comparison.comparison_rows` → fairness by bank.

    Banks are those of `fedpatchcore.metrics.comparison.METHODS` that have a figure, and the
    federated one. A figure that no site has of a bank is left out, but for the federated one's.

    Args:
        made: sites that make each product, see `makers`; those without a row miss their figures.
    """
    rows = [row for row in rows if row["kind"] == "site"]
    sites = {row["product"]: set() for row in rows}
    for product in sites:
        sites[product] |= set((made or {}).get(product, ()))
    for row in rows:
        sites[row["product"]].add(row["site"])
    found = {bank: _bank(bank, rows, sites) for bank in METHODS} if rows else {}
    return {bank: one for bank, one in found.items() if one.all}


def makers(metrics: Mapping[str, Any]) -> dict[str, set[str]]:
    """The content of ``metrics.json`` → sites by product, of the round whose figures count.

    From what was trained; a product of a bank with one section for all is not told there.
    """
    found: dict[str, set[str]] = {}
    for site, told in ((last_evaluated(metrics) or {}).get("train") or {}).items():
        for section in told.get("sections") or ():
            if (name := section.get("section")) and name != SHARED:
                found.setdefault(name, set()).add(site)
    return found


def fairness_told(rows: Iterable[Mapping[str, Any]], made: Mapping[str, Any]) -> dict[str, Any]:
    """`fairness` as ``metrics.json`` keeps it."""
    return {bank: one.told() for bank, one in fairness(rows, made).items()}


def _bank(bank: str, rows: list[Mapping[str, Any]], sites: Mapping[str, set[str]]) -> BankFairness:
    every: dict[str, dict[str, dict[str, Area | Rate]]] = {name: {} for name in FIGURES}
    kept: dict[str, dict[str, set[str]]] = {name: {} for name in FIGURES}
    for row in rows:
        for name, figure in _figures(row, bank).items():
            if figure is not None:
                every[name].setdefault(row["product"], {})[row["site"]] = figure
            elif row.get("withheld"):
                kept[name].setdefault(row["product"], set()).add(row["site"])
    names = [name for name in FIGURES if every[name] or bank == USED]
    products = {
        product: {
            name: _one(name, every[name].get(product, {}), known, kept[name].get(product, set()))
            for name in names
        }
        for product, known in sorted(sites.items())
    }
    known = set().union(*sites.values())
    return BankFairness(
        {name: _all(name, every[name], known, kept[name]) for name in names}, products
    )


def _one(
    name: str,
    served: Mapping[str, Area | Rate],
    known: set[str],
    kept: set[str],
    unlike: bool = False,
) -> Fairness:
    kept = kept - served.keys()
    return Fairness(
        dict(sorted(served.items())),
        name == "image_auroc",
        tuple(sorted(known - served.keys() - kept)),
        tuple(sorted(kept)),
        unlike,
    )


def _all(
    name: str,
    by_product: Mapping[str, Mapping[str, Area | Rate]],
    known: set[str],
    kept: Mapping[str, set[str]],
) -> Fairness:
    served: dict[str, Any] = {}
    judged: dict[str, set[str]] = {}
    for product, sites in by_product.items():
        for site, figure in sites.items():
            served[site] = served[site] + figure if site in served else figure
            judged.setdefault(site, set()).add(product)
    unlike = len(set(map(frozenset, judged.values()))) > 1
    return _one(name, served, known, set().union(*kept.values()), unlike)


def _figures(row: Mapping[str, Any], bank: str) -> dict[str, Area | Rate | None]:
    """What one bank gave one site, of one product; None where there is nothing."""
    auroc, area = row.get(bank), None
    if isinstance(auroc, int | float) and 0 <= auroc <= 1:  # NaN is not
        area = Area.of(float(auroc), row.get("good") or 0, row.get("defective") or 0)
    own = row if bank == USED else (row.get("compared") or {}).get(bank) or {}
    found, stopped = (Rate(*(own.get(key) or (0, 0))) for key in ("found", "stopped"))
    missed = Rate(found.of - found.count, found.of)
    return {
        "image_auroc": area,
        "misses": missed if missed.of else None,
        "false_alarms": stopped if stopped.of else None,
    }
