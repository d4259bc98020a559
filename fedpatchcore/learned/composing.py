"""What a method goes with: optimiser, wire, protection; each refusal says what mends it.

A setting that a method would not look at is refused like one that it cannot keep: who sets it
expects it to count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedpatchcore.learned.adding import masked_clash
from fedpatchcore.learned.fitting import unfit
from fedpatchcore.learned.registry import OPTIMISERS

__all__ = ["clashes"]

TRAINING = ("feddymem", "generator", "student")
ROBUST = ", ".join(one.name for one in OPTIMISERS.values() if one.robust)
OF_ONE_SITE = ("fedavg", "fedprox")  # that are something at a site alone


def clashes(config: Any) -> str:
    """Why the settings do not go together, all reasons in one line; "" if they do.

    Args:
        config: the settings of a run, of all rooms (`fedpatchcore.config.RunConfig`).
    """
    if masked := masked_clash(config):
        return masked
    if not config.kind.learned:
        return "; ".join((*_idle(config), *_private(config)))
    found = [
        *_private(config),
        *_never(config),
        *_robust(config),
        *_alone(config),
        *_flowing(config),
        *_bank(config),
    ]
    return "; ".join(found)


def _idle(config: Any) -> Iterator[str]:
    """What trains nothing has no use for these."""
    for key, used in (
        (f"optimiser='{config.optimiser}'", config.optimiser != "fedavg"),
        (f"update-wire='{config.update_wire}'", config.update_wire != "float32"),
        (f"client-fraction={config.client_fraction:g}", config.client_fraction < 1),
        (f"early-stop={config.early_stop}", config.early_stop > 0),
    ):
        if used:
            yield (
                f"{key} is of training, and method='{config.method}' trains nothing: leave it out, "
                f"or set method to one of {', '.join(TRAINING)}"
            )
    if config.generators == "own":
        yield "generators='own' is of method='feddymem': set that, or leave it out"


def _private(config: Any) -> Iterator[str]:
    if config.mechanism and (told := unfit(config, config.mechanism)):
        yield told


def _never(config: Any) -> Iterator[str]:
    for key, used, why in (
        ("attack", bool(config.attack), "attacks are rehearsed on coresets: set attack=''"),
        (
            "memory-budget",
            config.memory_budget > 0,
            "training sees all patches at once: set memory-budget=0",
        ),
        (
            "geometry='tiles'",
            config.geometry == "tiles",
            "training sees all patches at once: set geometry='whole'",
        ),
    ):
        if used:
            yield f"method='{config.method}' takes no {key}: {why}"


def _robust(config: Any) -> Iterator[str]:
    """A robust run needs a rule that one site cannot move, and a rule its number of sites."""
    rule, f = config.rule, config.tolerated_sites
    moves = config.generators == "averaged"
    if config.robustness_enabled and moves and not rule.robust:
        yield (
            f"with optimiser='{rule.name}' one site can move what is learnt, whatever else "
            f"robustness-enabled keeps: set optimiser to one of {ROBUST}, or "
            "robustness-enabled=false"
        )
    if moves and config.min_sites < (least := rule.least_sites(f)):
        yield (
            f"optimiser='{rule.name}' with tolerated-sites={f} needs {least} sites: set "
            f"min-sites={least} or more, or tolerated-sites lower"
        )
    if config.robustness_enabled and config.density_filter and config.kind.averages:
        yield (
            f"density-filter drops patches before coresets are picked, and "
            f"method='{config.method}' gives averages: set density-filter=0"
        )


def _alone(config: Any) -> Iterator[str]:
    """Generators that stay at their sites: nothing of the optimiser's travels."""
    if config.generators != "own":
        return
    if config.method != "feddymem":
        yield "generators='own' is of method='feddymem': set that, or generators='averaged'"
    for key, used, mend in (
        (
            f"optimiser='{config.optimiser}'",
            config.optimiser not in OF_ONE_SITE,
            f"set optimiser to one of {', '.join(OF_ONE_SITE)}",
        ),
        (
            f"update-wire='{config.update_wire}'",
            config.update_wire != "float32",
            "set update-wire='float32'",
        ),
        (f"early-stop={config.early_stop}", config.early_stop > 0, "set early-stop=0"),
    ):
        if used:
            yield (
                f"with generators='own' no update or loss leaves a site, so {key} would do "
                f"nothing: {mend}, or generators='averaged'"
            )


def _flowing(config: Any) -> Iterator[str]:
    if config.rule.asynchronous and not config.keep_absent_sites:
        yield (
            f"keep-absent-sites=false is of rounds, and optimiser='{config.optimiser}' has none: "
            "set keep-absent-sites=true"
        )


def _bank(config: Any) -> Iterator[str]:
    """A method that makes its own bank takes no aggregation."""
    if config.kind.bank and config.aggregation != type(config).model_fields["aggregation"].default:
        yield (
            f"method='{config.method}' makes its own bank, so aggregation='{config.aggregation}' "
            "would do nothing: leave it out"
        )
