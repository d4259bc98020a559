"""Is a site's coreset possible, and is it like the others'? What a federation asks of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpatchcore.robustness.sitescores import outliers, site_scores
from fedpatchcore.robustness.validation import limits_of, screen, screen_against

if TYPE_CHECKING:
    from fedpatchcore.config import RunConfig
    from fedpatchcore.contribution import Contribution

__all__ = ["Judgement", "judge", "screen_all"]

MIN_SITES = 3  # fewer show no majority to differ from


@dataclass(frozen=True)
class Judgement:
    """What was found of the sites.

    Attributes:
        scores: ``{section: {site: modified z-score}}``.
        reasons: ``{site: why it stands out}``.
        excluded: sites left out of the bank; always fewer than half of a section's makers.
    """

    scores: dict[str, dict[str, float]]
    reasons: dict[str, str]
    excluded: set[str]


def screen_all(given: Contribution, *, exact: bool) -> None:
    """Refuse rows that this backbone cannot produce. Raises CoresetError.

    Args:
        exact: whether rows are features as they are; noised or averaged ones are not.
    """
    limits = limits_of(given.fingerprint, exact=exact)
    for section, part in given.parts.items():
        screen(given.site, section, part.features, limits, images=part.images)


def judge(contributions: Mapping[str, Contribution], config: RunConfig) -> Judgement:
    """Compare the sites of each section with each other.

    ``on-outlier="warn"`` only says what stands out. With ``exclude``, sites beyond
    ``zscore-threshold`` are left out, the worst first, at most ``tolerated-sites`` of them: more
    cannot all be faulty by assumption, so the deviation must have another cause.
    """
    scores: dict[str, dict[str, float]] = {}
    reasons: dict[str, str] = {}
    worst: dict[str, float] = {}
    makers: list[set[str]] = []
    for section in sorted({name for c in contributions.values() for name in c.parts}):
        rows = {
            s: c.parts[section].features
            for s, c in sorted(contributions.items())
            if section in c.parts
        }
        if len(rows) < MIN_SITES:
            continue
        makers.append(set(rows))
        refused = screen_against(rows)
        for site, reason in refused.items():
            reasons[site] = f"section '{section}': {reason}"
            worst[site] = float("inf")
        found = site_scores({s: r for s, r in rows.items() if s not in refused}, seed=config.seed)
        scores[section] = found
        for site in outliers(found, config.zscore_threshold):
            reasons.setdefault(
                site,
                f"section '{section}': its rows lie {found[site]:.1f} median deviations from the "
                f"other sites' (zscore-threshold {config.zscore_threshold:g})",
            )
            worst[site] = max(worst.get(site, 0.0), found[site])
    excluded: set[str] = set()
    if config.on_outlier == "exclude":
        for site in sorted(worst, key=lambda s: (-worst[s], s)):
            now = excluded | {site}
            minority = all(2 * len(now & own) < len(own) for own in makers)
            if len(now) <= config.tolerated_sites and minority:
                excluded = now
    return Judgement(scores, reasons, excluded)
