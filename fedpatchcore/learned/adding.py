"""What updates that add up under masks go with; each refusal says what mends it."""

from __future__ import annotations

from typing import Any

from fedpatchcore.learned.registry import refusals
from fedpatchcore.privacy.registry import examples
from fedpatchcore.spelling import typed

__all__ = ["masked_clash"]

METHODS = ("generator", "student")


def masked_clash(config: Any) -> str:
    """Why ``secure-sums`` does not go with these settings, in one line; "" if it does.

    Args:
        config: the settings of a run, of all rooms (`fedpatchcore.config.RunConfig`).
    """
    if not config.secure_sums:
        return ""
    if not config.kind.learned:
        if config.dp == "off":
            return f"secure-sums needs differential privacy: set {examples(sums=True)}"
        return ""
    if told := refusals(config.rule, update_wire=config.update_wire, secure_sums=True):
        return "; ".join(told)
    f = config.colluding_sites
    for key, used, why, mend in (
        (
            f"method='{config.method}'",
            config.method not in METHODS,
            "averages of patches leave beside its updates, site by site",
            ("method", "student"),
        ),
        (
            f"dp='{config.dp}'",
            config.dp == "sgd",
            "its noise is in each site's own steps, and none is left to share",
            ("dp", "client"),
        ),
        (
            "dp-clipping='adaptive'",
            config.dp == "client" and config.dp_clipping == "adaptive",
            "nobody counts the updates that are clipped",
            ("dp-clipping", "fixed"),
        ),
        (
            f"update-wire='{config.update_wire}'",
            config.update_wire != "float32",
            "masked numbers take 8 bytes whatever they were",
            ("update-wire", "float32"),
        ),
        (
            "weighted-by-samples",
            config.weighted_by_samples,
            "the sum does not know whose update counts how much",
            ("weighted-by-samples", "false"),
        ),
        (
            "early-stop",
            config.early_stop > 0,
            "losses of each site would leave beside its masked update",
            ("early-stop", "0"),
        ),
        (
            "robustness-enabled",
            config.robustness_enabled,
            "a sum over sites cannot be robust",
            ("robustness-enabled", "false"),
        ),
        (
            f"min-sites={config.min_sites}",
            config.min_sites < max(config.min_openers, 2 + f),
            f"with min-openers={config.min_openers} and colluding-sites={f} a sum takes "
            f"{max(config.min_openers, 2 + f)} sites",
            ("min-sites", str(max(config.min_openers, 2 + f))),
        ),
    ):
        if used:
            return f"secure-sums does not go with {key}: {why}; set {typed(*mend)}"
    return ""
