"""What a run cannot ask of figures that no site tells: each refusal with its mend."""

from __future__ import annotations

from typing import Any

from fedpatchcore.spelling import typed

__all__ = ["figures_clash"]


def figures_clash(config: Any) -> str:
    """Why ``secure-figures`` does not go with these settings, in one line; "" if it does.

    Args:
        config: the settings of a run, of all rooms (`fedpatchcore.config.RunConfig`).
    """
    if not config.secure_figures:
        return ""
    if config.min_sites < (needed := max(config.min_openers, 2 + config.colluding_sites)):
        return (
            f"secure-figures with min-openers={config.min_openers} and "
            f"colluding-sites={config.colluding_sites} takes {needed} sites: raise min-sites "
            f"({config.min_sites})"
        )
    for key, used, why, mend in (
        ("selection", config.selection == "adaptive", "chooses by them", ("selection", "random")),
        ("weighted-by-samples", config.weighted_by_samples, "counts each site's images", None),
        ("early-stop", config.early_stop, "waits for each site's losses", ("early-stop", "0")),
        ("compare-pooled", config.compare_pooled, "measures site by site", None),
        ("dp-share-metrics", config.dp_share_metrics, "lets each site's leave", None),
        ("tune", config.tune, "ranks settings by them", None),
    ):
        if used:
            told = typed(*(mend or (key, "false")))
            return f"with secure-figures no site tells figures of its own, and {key} {why}: {told}"
    return ""
