"""What thresholds of several banks decided on the same test images, side by side.

Alone, federated, pooled: each bank at a threshold of its own, set on normal images in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.metrics.promises import Promise
from fedpatchcore.metrics.verdicts import Verdict, alone, verdict

__all__ = ["Judged", "compared_told", "judged_by", "together"]

BANKS = ("local", "federated", "pooled", "pooled_equal")
CUT = "equal"  # prefix of what a pooled bank cut to the federated one's size decided


@dataclass(frozen=True)
class Judged:
    """Verdicts by one bank.

    Attributes:
        promised: the largest share promised at one of the ``sites``.
        low, high: the outermost ends of the 90% intervals of the true shares there.
    """

    verdict: Verdict
    promised: float
    low: float
    high: float
    sites: int = 1

    def told(self) -> dict[str, Any]:
        """As ``metrics.json`` keeps it."""
        figures = {name: getattr(self, name) for name in ("sites", "promised", "low", "high")}
        counts = self.verdict.told()
        return figures | {name: counts[name] for name in ("defects_found", "good_stopped")}

    def brief(self) -> dict[str, list]:
        """As a row of the comparison holds it, see `comparison_rows`."""
        found, stopped = self.verdict.found, self.verdict.stopped
        return {
            "found": [found.count, found.of],
            "stopped": [stopped.count, stopped.of],
            "promised": [self.promised, self.low, self.high],
        }

    def __add__(self, other: Judged) -> Judged:
        return Judged(
            self.verdict + other.verdict,
            max(self.promised, other.promised),
            min(self.low, other.low),
            max(self.high, other.high),
            self.sites + other.sites,
        )


def judged_by(result: Mapping[str, Any], pooled: Mapping[str, Any]) -> dict[str, Judged]:
    """One site and product, by bank; a bank that has no threshold there is missing.

    Args:
        result: of the site's evaluation. Its own bank's threshold rests on the same images in
            the same folds as the federated one's, and so promises the same.
        pooled: of the pooled baseline at this site, see `pooled_baseline`; may be empty.
    """
    own, central = Promise.of_result(result), Promise.of_result(pooled)
    found = {
        "local": (alone(result), own),
        "federated": (verdict(result), own),
        "pooled": (verdict(pooled), central),
        "pooled_equal": (alone(pooled, CUT), central),
    }
    return {
        bank: Judged(told, promise.promised, promise.low, promise.high)
        for bank, (told, promise) in found.items()
        if told is not None and promise is not None
    }


def together(sites: Iterable[Mapping[str, Judged]]) -> dict[str, Judged]:
    """Sums over the sites that every bank in use has judged; nothing where fewer than two have."""
    every = list(sites)
    banks = [bank for bank in BANKS if any(bank in own for own in every)]
    common = [own for own in every if all(bank in own for bank in banks)]
    if len(banks) < 2 or not common:
        return {}
    first, *rest = common
    return {bank: sum((own[bank] for own in rest), first[bank]) for bank in banks}


def compared_told(
    record: Mapping[str, Any], pooled: Mapping[str, Any]
) -> dict[str, dict[str, dict[str, Any]]]:
    """A round's record and the pooled baseline → verdicts by product and bank, all sites together.

    Products of which fewer than two banks have verdicts are left out.
    """
    by_product: dict[str, list[dict[str, Judged]]] = {}
    for site, told in sorted((record.get("evaluate") or {}).items()):
        for product, result in (told.get("products") or {}).items():
            central = (pooled.get(site) or {}).get(product) or {}
            by_product.setdefault(product, []).append(judged_by(result, central))
    found = {product: together(sites) for product, sites in sorted(by_product.items())}
    return {p: {b: one.told() for b, one in own.items()} for p, own in found.items() if own}
