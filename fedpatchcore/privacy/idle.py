"""Settings of privacy that would do nothing in a run: who sets one expects it to count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedpatchcore.privacy.registry import MECHANISMS, Mechanism
from fedpatchcore.privacy.shares import surveys
from fedpatchcore.settings import Settings, kebab
from fedpatchcore.spelling import typed

__all__ = ["ALL", "MASKED", "OVERRULED", "SUMS", "idle"]

ALL = ("dp_epsilon", "dp_delta", "dp_budget_epsilon", "dp_share_metrics")  # of every mechanism
SUMS = ("dp_projection", "dp_codebook", "dp_combine")  # of those of noisy sums
CUT = ("dp_cells", "dp_projection")  # by which public images are cut, and a codebook file was
FIRST = "dp_first_share"
MASKED = ("min_openers", "colluding_sites")
OVERRULED = {  # settings of other rooms that noisy sums have no use for, and why
    "aggregation": "sums of sites are added up",
    "weighted_by_samples": "each image counts once, whose number is withheld",
    "density_filter": "all patches of an image are in its sums",
}


def idle(config: Settings) -> str:
    """Why settings that were set do not count, all of them in one line; "" if all do.

    Args:
        config: the settings of privacy, alone or among those of a run.
    """
    return "; ".join((*_idle(config), *_overruled(config)))


def _idle(config: Any) -> Iterator[str]:
    here = f"dp='{config.dp}'"
    for name in (*ALL, *SUMS, *_owned()):
        if not _set(config, name):
            continue
        others = [one.name for one in MECHANISMS.values() if _counts(one, name)]
        if config.dp not in others:
            ways = " or ".join(typed("dp", one) for one in others)
            yield f"{_told(config, name)} does nothing with {here}: leave it out, or set {ways}"
        elif name in CUT and config.dp_codebook.endswith(".safetensors"):
            yield (
                f"{_told(config, name)} does nothing with dp-codebook='{config.dp_codebook}', "
                "which is cut already: leave it out, or name a folder of images"
            )
        elif (
            name == FIRST
            and not surveys(config, getattr(config, "num_rounds", 2))
            and (config.dp_first_share)
        ):
            yield (
                f"{_told(config, name)} is of the first of several rounds whose sums are added "
                "up: leave it out, or set "
                f"{typed('num-rounds', '2')} and {typed('dp-combine', 'sum')}"
            )
    for name in MASKED:
        if _set(config, name) and not (config.secure_sums or config.secure_figures):
            yield (
                f"{_told(config, name)} is of sums under masks, and there are none: leave it out, "
                f"or set {typed('secure-sums', 'true')} or {typed('secure-figures', 'true')}"
            )
    if _set(config, "dp_alone_epsilon") and not (config.secure_sums and config.mechanism):
        yield (
            f"{_told(config, 'dp_alone_epsilon')} caps noise that sites share, and there is none: "
            f"leave it out, or set {typed('secure-sums', 'true')} and dp"
        )
    if config.dp_regions > 1 and getattr(config, "num_rounds", 2) != 2:
        yield (
            f"{_told(config, 'dp_regions')} takes num-rounds=2: the first cuts the regions, the "
            "second adds up what is in them"
        )


def _overruled(config: Any) -> Iterator[str]:
    """``aggregation`` counts where banks of sites are compared (``dp-combine='per-site'``)."""
    if not config.sums:
        return
    for name, why in OVERRULED.items():
        per_site = name == "aggregation" and config.dp_combine != "sum"
        if name in type(config).model_fields and _set(config, name) and not per_site:
            yield f"{_told(config, name)} does nothing with dp='{config.dp}': {why}; leave it out"


def _owned() -> list[str]:
    return sorted({name for one in MECHANISMS.values() for name in one.own})


def _counts(one: Mechanism, name: str) -> bool:
    return name in ALL or name in one.own or (bool(one.sums) and name in SUMS)


def _set(config: Settings, name: str) -> bool:
    return getattr(config, name) != type(config).model_fields[name].default


def _told(config: Settings, name: str) -> str:
    value = getattr(config, name)
    shown = f"'{value}'" if isinstance(value, str) else f"{value:g}"
    return f"{kebab(name)}={str(value).lower() if isinstance(value, bool) else shown}"
