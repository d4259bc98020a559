"""One section of the bank from the sites' parts of it, by the aggregation in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fedpatchcore.aggregation.common import Donor, Merged, MergeSettings
from fedpatchcore.aggregation.memory import Memory
from fedpatchcore.aggregation.registry import AGGREGATIONS
from fedpatchcore.bank.contribution import Part
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.deviation import all_but, middle
from fedpatchcore.errors import ConfigError, CoresetError

__all__ = ["by_section", "merge_section", "section_line"]

LARGE = 10**8  # bytes that are worth a word in the log
# One giver must not end a robust run for lack of memory: with more than so many times as many rows
# as the median giver, of three or more, it is left out where all do not fit.
OUTSIZED, LEAST_GIVERS = 10, 3


def merge_section(
    parts: Mapping[str, Part],
    sites: tuple[str, ...],
    images: Mapping[str, int],
    config: RunConfig,
    *,
    device: str,
) -> tuple[Section, dict[str, Any]]:
    """The bank's section and the facts that the round's record shows.

    Args:
        parts: what each site gave, by site.
        sites: all sites of the bank; a row's origin is a position in it.
        images: training images that the bank represents, by site.

    Raises:
        CoresetError: nothing can be made of these parts; the reason is in the text.
        ConfigError: the aggregation takes more memory than ``server-memory-gb`` allows, and not for
            the sake of one giver in a robust run.
    """
    if not parts:
        raise CoresetError("every site that makes it is excluded")
    try:
        merged = _merged(parts, config, device)
    except ConfigError:
        if not (big := _outsized(parts) if config.robustness_enabled else ""):
            raise
        rest = {site: part for site, part in parts.items() if site != big}
        section, facts = merge_section(rest, sites, images, config, device=device)
        return section, {**facts, "too_large": sorted([big, *facts.get("too_large", ())])}
    tolerated = config.withstood
    places = {site: at for at, site in enumerate(sites)}
    place = np.array([places[site] for site in parts] + [-1], dtype=np.int32)
    origin = place[merged.origin]
    section = Section(
        merged.features,
        origin,
        merged.radius,
        max(merged.radius, middle([part.radius for part in parts.values()], tolerated)),
        {site: n for site, n in images.items() if n},
        merged.flagged,
    )
    return section, {
        "rows": len(section),
        "radius": section.radius,
        "reach": _reach(parts, merged, config),
        **({"all_but": tolerated} if tolerated else {}),
        "flagged": merged.flagged,
        "rejected_rows": merged.rejected,
        "offered_rows": sum(len(part.features) for part in parts.values()),
        "sites": list(parts),
        **merged.notes,
    }


def _merged(parts: Mapping[str, Part], config: RunConfig, device: str) -> Merged:
    return AGGREGATIONS[config.effective_aggregation](
        [Donor(site, part.features, part.images) for site, part in parts.items()],
        MergeSettings(
            config.global_bank_size,
            config.weighted_by_samples,
            config.seed,
            device,
            config.tolerated_sites,
            config.single_source,
            Memory.of(config.server_memory_gb),
        ),
    )


def _outsized(parts: Mapping[str, Part]) -> str:
    """The giver of the most rows, if they are out of all proportion to the others'; else ""."""
    sizes = {site: len(part.features) for site, part in parts.items()}
    most = max(sizes, key=lambda site: (sizes[site], site))
    usual = middle(list(sizes.values()), 0)
    return most if len(parts) >= LEAST_GIVERS and sizes[most] > OUTSIZED * usual else ""


def section_line(name: str, facts: Mapping[str, Any]) -> str:
    """What the log says of a merged section, or of one that is read from noisy sums."""
    if "known" in facts:
        return (
            f"bank section {name}: {facts['known']:,} of {facts['of']:,} {facts['what']}s rise "
            f"above the noise of {len(facts['sites'])} site(s)"
        )
    told = (
        f"bank section {name}: {facts['rows']:,} of {facts['offered_rows']:,} rows from "
        f"{len(facts['sites'])} site(s)"
    )
    if facts.get("updates"):
        told += f", {facts['optimiser']} over {facts['updates']} update(s)"
        if "train_loss" in facts:
            told += f", mean loss {facts['train_loss']:.4g}"
    if (reach := facts.get("reach")) is not None:
        but = facts.get("all_but", 0)
        whose = f" of all sites but {but}" if but else ""
        told += f", every training patch{whose} within {reach:.4g} of a row"
    if tree := facts.get("tree"):
        told += (
            f", radius at most ×{tree['factor']:.3g} of the best possible: merged in a tree of "
            f"{tree['blocks']} blocks, since merging at once takes "
            f"{tree['exact_memory_bytes'] / 1e9:.3g} GB (server-memory-gb)"
        )
    if considered := facts.get("considered_rows"):
        told += (
            f", picked from {considered:,} rows, the first {facts['considered_rows_a_site']:,} "
            "of each site (server-memory-gb)"
        )
    if left := facts.get("too_large"):
        told += f", without {', '.join(left)}: more rows than server-memory-gb has room for"
    if facts["flagged"]:
        told += f", {facts['flagged']} rows flagged"
    if facts["rejected_rows"]:
        told += f", {facts['rejected_rows']} rows rejected"
    if (memory := facts.get("memory_bytes", 0)) >= LARGE:
        told += f", all rows at once in about {memory / 1e9:.2g} GB of memory"
    return told


def _reach(parts: Mapping[str, Part], merged: Merged, config: RunConfig) -> float | None:
    """Every training patch lies so near to a row: r_i + R. None where noise moved the rows.

    In a robust run R is each site's own, and ``tolerated-sites`` of the sums are left out: what a
    faulty site says of itself, or sends, says nothing of the others' patches.
    """
    if config.dp != "off":
        return None
    radii = [part.radius for part in parts.values()]
    if not config.robust:
        return max(radii) + merged.radius
    sums = [own + there for own, there in zip(radii, merged.reaches, strict=True)]
    return all_but(sums, config.tolerated_sites)


def by_section(
    counts: Mapping[str, Mapping[str, int]], sections: Iterable[str], sites: Iterable[str]
) -> dict[str, dict[str, int]]:
    """``{site: {section: count}}`` the other way round, of these alone; or back again."""
    found = {
        name: {site: counts[site][name] for site in sites if name in counts.get(site, {})}
        for name in sections
    }
    return {name: own for name, own in found.items() if own}
