"""Is a site's coreset possible, and is it like the others'? What a federation asks of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.aggregation.memory import Memory
from fedpatchcore.robustness.moves import move_scores
from fedpatchcore.robustness.sitescores import ROWS_A_SITE, outliers, site_scores
from fedpatchcore.robustness.validation import strangers, typical_norm
from fedpatchcore.spelling import typed

if TYPE_CHECKING:
    from fedpatchcore.bank.contribution import Contribution, Part
    from fedpatchcore.config import RunConfig

__all__ = ["Judgement", "judge"]

MIN_SITES = 3  # fewer show no majority to differ from, however few may be faulty
ROWS_NEEDED = 64  # of each site, for a comparison that says something
COPIES = 4  # the rows, the codebook's, k-means' own, and the positions


@dataclass(frozen=True)
class Judgement:
    """What was found of the sites.

    Attributes:
        scores: ``{section: {site: modified z-score}}``.
        reasons: ``{site: why it stands out}``.
        excluded: sites left out of the bank; always fewer than half of a section's makers.
        notes: how the comparison was cut short to fit into memory, if it was.
    """

    scores: dict[str, dict[str, float]]
    reasons: dict[str, str]
    excluded: set[str]
    notes: list[str]


def judge(
    contributions: Mapping[str, Contribution],
    config: RunConfig,
    moves: Mapping[str, Mapping[str, float]] | None = None,
) -> Judgement:
    """Compare the sites of each section with each other: their rows, and the sizes of updates.

    ``on-outlier="warn"`` only says what stands out. With ``exclude``, sites beyond
    ``zscore-threshold`` are left out, the worst first, at most ``tolerated-sites`` of them: more
    cannot all be faulty by assumption, so the deviation must have another cause.

    A section speaks of its makers only where faulty ones, f = ``tolerated-sites``, cannot be half
    of them: of 2f + 1 or more. Its score alone excludes nobody unless there are 2f + 2: a site is
    measured by its middle peer, and of 2f peers f faulty ones can bring that one near to whom they
    copy, which makes an honest site the odd one out.

    The codebook that makes sites comparable sees the first rows of all sites at once, as many
    of each as ``server-memory-gb`` has room for (`ROWS_A_SITE` at most). Every site is compared
    with every other: time grows with the square of their number.

    Args:
        moves: ``{section: {site: length}}`` of what sites learnt in this round, a local step
            (`fedpatchcore.robustness.moves`).

    Raises:
        ConfigError: memory is too small for `ROWS_NEEDED` rows of each site.
    """
    memory = Memory.of(config.server_memory_gb)
    notes: list[str] = []
    scores: dict[str, dict[str, float]] = {}
    reasons: dict[str, str] = {}
    worst: dict[str, float] = {}
    makers: list[set[str]] = []
    f = config.tolerated_sites
    compared = config.kind.compared
    for section in sorted({name for c in contributions.values() for name in c.parts if compared}):
        parts = {
            site: contributions[site].parts[section]
            for site in sorted(contributions)
            if section in contributions[site].parts
        }
        if len(parts) < max(MIN_SITES, 2 * f + 1):
            continue
        makers.append(set(parts))
        refused = strangers({site: typical_norm(part.read()) for site, part in parts.items()})
        for site, reason in refused.items():
            reasons[site] = f"section '{section}': {reason}"
            worst[site] = float("inf")
        first = _rows_a_site([p for s, p in parts.items() if s not in refused], memory)
        if first < ROWS_A_SITE:
            notes.append(
                f"section '{section}': sites were compared by their first {first:,} rows each, "
                "which is what memory has room for (server-memory-gb)"
            )
        rows = {s: p.read(min(first, ROWS_A_SITE)) for s, p in parts.items() if s not in refused}
        found = site_scores(rows, seed=config.seed)
        del rows
        scores[section] = found
        for site in outliers(found, config.zscore_threshold):
            reasons.setdefault(
                site,
                f"section '{section}': its rows lie {found[site]:.1f} median deviations from the "
                f"other sites' (zscore-threshold {config.zscore_threshold:g})",
            )
            if len(found) > 2 * max(0, f - len(refused)) + 1:
                worst[site] = max(worst.get(site, 0.0), found[site])
    for section, lengths in sorted((moves or {}).items()):
        if len(lengths) < max(MIN_SITES, 2 * f + 1):
            continue
        makers.append(set(lengths))
        found = move_scores(lengths)
        scores[f"{section} (updates)"] = found
        for site in outliers(found, config.zscore_threshold):
            reasons.setdefault(
                site,
                f"section '{section}': its update is {lengths[site]:.3g} long a local step, the "
                f"others' about {np.median(list(lengths.values())):.3g} (zscore-threshold "
                f"{config.zscore_threshold:g})",
            )
            worst[site] = max(worst.get(site, 0.0), found[site])
    excluded: set[str] = set()
    if config.on_outlier == "exclude":
        for site in sorted(worst, key=lambda s: (-worst[s], s)):
            now = excluded | {site}
            minority = all(2 * len(now & own) < len(own) for own in makers)
            if len(now) <= config.tolerated_sites and minority:
                excluded = now
    return Judgement(scores, reasons, excluded, notes)


def _rows_a_site(parts: list[Part], memory: Memory) -> int:
    """Rows of each site that can be compared at once; `ROWS_A_SITE` if memory is no matter."""
    if not parts:
        return ROWS_A_SITE
    a_row = COPIES * 4 * parts[0].features.shape[1]
    few = sum(min(ROWS_NEEDED, len(p.features)) for p in parts)
    room = memory.require(
        few * a_row,
        f"comparing {len(parts):,} sites, {ROWS_NEEDED} rows of each,",
        f"or {typed('robustness-enabled', 'false')}",
    )
    sizes = sorted(min(ROWS_A_SITE, len(p.features)) for p in parts)
    left, fits = room // a_row, ROWS_A_SITE
    for at, size in enumerate(sizes):  # the smallest take what they have, the rest share
        fits = left // (len(sizes) - at)
        if size > fits:
            return min(fits, ROWS_A_SITE)
        left -= size
    return ROWS_A_SITE
