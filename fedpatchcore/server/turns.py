"""Whose turn it is: which sites a round asks to train.

``adaptive`` is of the kind of Oort (Lai, Zhu, Madhyastha, Chowdhury, OSDI 2021): a site's worth is
what it is expected to add and a bonus that grows while it is not asked, less by as much as it takes
longer than is usual. Most of a round's places go to the worthiest, by lot among those that are
nearly as worthy; a fifth goes to others by lot, first to those that were never asked. What a site
adds to a bank is not a loss but patches that no row covers:

* a site that was asked before: its images since then, times the share of new patches that the bank
  did not cover at its last turn;
* one that was not: all its images, times the share of its patches that the last bank it judged by
  does not cover; where none is known, the share that is usual among sites at first sight, and all
  of products that the bank has no rows of.

A private site withholds both, and counts as one image: how long it was not asked and how long it
takes decide then. Of a method that trains each turn counts anew: all images add.

No site waits for ever. One that was passed over ``longest-pause`` times running comes before all
others, the longest wait first; of n sites, k a round, every one that is there has its turn within
``longest-pause`` + ⌈n/k⌉ rounds.

All that is known stands in the records of the rounds, so a resumed run chooses as if it had never
stopped. Lots are drawn from ``seed`` and the round's number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from fedpatchcore.config import RunConfig
from fedpatchcore.learned.plan import sampled, seed_of

__all__ = ["Choice", "Known", "choose", "closing", "enough", "known_of"]

EXPLORED = 0.2  # of a round's places, by lot, for sites that were never asked first
BONUS = 0.1  # of Oort's term √(0.1 ln R / L) for a site last asked in round L
NEARLY = 0.95  # of the last place's worth: who has that much draws lots for it


@dataclass
class Known:
    """What earlier rounds tell of a site.

    Attributes:
        last: round of its last turn; 0: it had none.
        images: it named at the roll call of that turn.
        share: of the patches that were new at its last turn, those that no row covered.
        beyond: share of its patches that the bank it last judged by does not cover; None unless
            it never gave anything and told it.
        seconds: its last reply took.
        waited: rounds running in which it was there and was not asked.
    """

    last: int = 0
    images: int = 0
    share: float = 1.0
    beyond: float | None = None
    seconds: float = 0.0
    waited: int = 0


@dataclass(frozen=True)
class Choice:
    """Who trains, and why each of them, in a few words; the others are passed over."""

    chosen: list[str]
    why: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)

    def told(self, images: Mapping[str, int]) -> dict[str, Any]:
        """For the round's record."""
        return {
            "chosen": self.chosen,
            "why": self.why,
            "passed_over": self.passed_over,
            "images": {site: images.get(site, 0) for site in self.chosen},
        }


def choose(
    names: Iterable[str],
    config: RunConfig,
    number: int,
    *,
    images: Mapping[str, int],
    history: Sequence[Mapping[str, Any]],
    unseen: Mapping[str, int] | None = None,
) -> Choice:
    """The sites that train in a round.

    Args:
        names: of all that could.
        images: training images that each named at the roll call; 0 where they are withheld.
        history: the records of earlier rounds.
        unseen: how many of the images are of products that the bank has no rows of.
    """
    sites = sorted(set(names))
    count = _count(len(sites), config)
    if count >= len(sites):
        return Choice(sites)
    if config.selection != "adaptive":
        drawn = sampled(sites, 1e-9, seed=config.seed, round=number, least=count)
        return Choice(drawn, dict.fromkeys(drawn, "drawn"), _others(sites, drawn))
    known = known_of(history)
    why = _adaptive(sites, count, config, number, images, unseen or {}, known)
    return Choice(sorted(why), why, _others(sites, why))


def enough(config: RunConfig, answered: int, asked: int, seconds: float) -> bool:
    """Whether a phase of a round need not wait for those that have not answered.

    Args:
        answered: sites whose answers are of use, of those that were ``asked``.
        seconds: since they were.
    """
    if answered < min(config.min_sites, asked):
        return False
    if config.round_closes_after and seconds >= config.round_closes_after:
        return True
    share = config.round_closes_at
    return share < 1 and answered >= math.ceil(share * asked - 1e-9)


def closing(config: RunConfig, answered: Callable[[], Sized], asked: Sized) -> Callable[[], bool]:
    """`enough` of a phase that begins now, to be asked again and again."""
    began = time.monotonic()
    return lambda: enough(config, len(answered()), len(asked), time.monotonic() - began)


def _others(sites: Iterable[str], chosen: Iterable[str]) -> list[str]:
    taken = set(chosen)
    return [site for site in sites if site not in taken]


def _count(there: int, config: RunConfig) -> int:
    """How many train: never fewer than ``min-sites``, as far as they are there."""
    asked = config.sites_per_round or math.ceil(config.client_fraction * there - 1e-9)
    return min(there, max(config.min_sites, asked))


def known_of(history: Sequence[Mapping[str, Any]]) -> dict[str, Known]:
    """What the records of earlier rounds tell of each site."""
    known: dict[str, Known] = {}
    for record in history:
        turn = record.get("selection") or {}
        for site in turn.get("passed_over") or ():
            known.setdefault(site, Known()).waited += 1
        for site in turn.get("chosen") or ():
            one = known.setdefault(site, Known())
            one.last, one.waited = int(record["round"]), 0
            one.images = int((turn.get("images") or {}).get(site, 0))
        for site, told in (record.get("train") or {}).items():
            one = known.setdefault(site, Known())
            one.seconds, one.beyond = float(told.get("round_trip_seconds") or 0.0), None
            one.last = one.last or int(record["round"])
            stats = told.get("sections") or ()
            if patches := sum(s.get("patches") or 0 for s in stats):
                one.share = min(1.0, sum(s.get("uncovered") or 0 for s in stats) / patches)
        for site, told in (record.get("evaluate") or {}).items():
            shares = [p.get("uncovered") for p in (told.get("products") or {}).values()]
            shares = [s for s in shares if isinstance(s, float | int) and math.isfinite(s)]
            if shares:
                known.setdefault(site, Known()).beyond = sum(shares) / len(shares)
    return known


def _adaptive(
    sites: list[str],
    count: int,
    config: RunConfig,
    number: int,
    images: Mapping[str, int],
    unseen: Mapping[str, int],
    known: Mapping[str, Known],
) -> dict[str, str]:
    """``{site: why}`` of so many sites."""
    of = {site: known.get(site, Known()) for site in sites}
    lots = np.random.default_rng(seed_of(config.seed, "turns", number))
    lot = dict(zip(sites, lots.random(len(sites)).tolist(), strict=True))
    overdue = [site for site in sites if of[site].waited >= config.longest_pause]
    overdue.sort(key=lambda site: (-of[site].waited, lot[site]))
    why = {site: f"passed over {of[site].waited} times" for site in overdue[:count]}
    rest = [site for site in sites if site not in why]
    places = count - len(why)
    explored = min(places, max(1, round(EXPLORED * places))) if places > 1 else 0
    worth = _worth(rest, number, images, unseen, of, learned=config.kind.learned)
    for site in _worthiest(rest, places - explored, worth, lot):
        why[site] = f"worth {worth[site]:.3g}"
    rest = [site for site in rest if site not in why]
    for site in sorted(rest, key=lambda site: (of[site].last > 0, lot[site]))[:explored]:
        why[site] = "explored" if of[site].last else "not asked before"
    return why


def _worth(
    sites: list[str],
    number: int,
    images: Mapping[str, int],
    unseen: Mapping[str, int],
    of: Mapping[str, Known],
    *,
    learned: bool,
) -> dict[str, float]:
    """Worth of each site, its expected gain relative to the largest."""
    first = [one.beyond for one in of.values() if one.beyond is not None]
    usual = sum(first) / len(first) if first else 1.0
    gain = {
        site: _gain(of[site], images.get(site, 0), unseen.get(site, 0), usual, learned=learned)
        for site in sites
    }
    most = max(gain.values(), default=0.0) or 1.0
    times = [one.seconds for one in of.values() if one.seconds]
    normal = median(times) if times else 0.0
    found = {}
    for site in sites:
        one = of[site]
        slow = normal / one.seconds if one.seconds > normal else 1.0
        bonus = math.sqrt(BONUS * math.log(number) / one.last) if one.last else 0.0
        found[site] = (gain[site] / most + bonus) * slow
    return found


def _gain(one: Known, images: int, unseen: int, usual: float, *, learned: bool) -> float:
    """Images' worth of patches that a site would add."""
    if learned or not images:
        return float(images or 1)
    if one.last:
        return one.share * max(0, images - one.images)
    return unseen + (images - unseen) * (usual if one.beyond is None else one.beyond)


def _worthiest(
    sites: list[str], count: int, worth: Mapping[str, float], lot: Mapping[str, float]
) -> list[str]:
    """So many sites of the most worth; nearly equal ones draw lots, the worthier more of them."""
    if count <= 0:
        return []
    ranked = sorted(sites, key=lambda site: (-worth[site], lot[site]))
    least = NEARLY * worth[ranked[min(count, len(ranked)) - 1]]
    pool = [site for site in ranked if worth[site] >= least]
    # Efraimidis & Spirakis, 2006: the largest of u^(1/w)
    drawn = sorted(pool, key=lambda site: math.log(lot[site] + 1e-12) / max(worth[site], 1e-9))
    return drawn[::-1][:count]
