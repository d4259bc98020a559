"""What a method that trains does not go with: refused by name, with its mend where there is one.

Which privacy mechanism goes with which method is a part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fedpatchcore.learned.registry import Optimiser, refusals
from fedpatchcore.methods.registry import Method
from fedpatchcore.privacy.registry import Mechanism, examples
from fedpatchcore.spelling import typed

__all__ = ["unfit"]

ROWS: Mapping[str, str] = {  # methods whose rows are patches, or as good as patches
    "feddymem": "its averages of patches would leave without noise (a row that stands for one "
    "patch is that patch)",
    "generator": "its rows are patches and would leave without noise",
}


class _Told(Protocol):
    """What is looked at of a run's settings."""

    method: str
    robustness_enabled: bool
    attack: str
    memory_budget: float
    early_stop: int
    weighted_by_samples: bool
    secure_sums: bool

    @property
    def kind(self) -> Method: ...

    @property
    def rule(self) -> Optimiser: ...

    @property
    def mechanism(self) -> Mechanism | None: ...


def unfit(config: _Told) -> str:
    """Why these settings do not go together, in one line; "" if they do."""
    for key, used, why in (
        ("robustness-enabled", config.robustness_enabled, "one site can move what is learnt"),
        ("attack", bool(config.attack), "attacks are rehearsed on coresets"),
        ("memory-budget", config.memory_budget > 0, "training sees all patches at once"),
        ("optimiser without rounds", config.rule.asynchronous, "a run here goes by rounds"),
    ):
        if used and config.kind.learned:
            return f"method='{config.method}' takes no {key}: {why}"
    return _private(config, config.mechanism) if config.mechanism else ""


def _private(config: _Told, mechanism: Mechanism) -> str:
    name = f"dp='{mechanism.name}'"
    if not config.kind.learned:
        if not mechanism.learned:
            return ""
        mend = f"set {typed('method', 'student')}, or {examples(sums=True)}"
        return f"{name} is for methods that train, method='{config.method}' trains nothing: {mend}"
    if not mechanism.learned:
        mend = f"set {examples(learned=True)}, or {typed('method', 'patchcore')}"
        return f"method='{config.method}' takes no {name}, which is of coresets: {mend}"
    if why := ROWS.get(config.method):
        return f"method='{config.method}' takes no {name}: {why}; set {typed('method', 'student')}"
    if config.early_stop:
        return (
            f"{name} takes no early-stop: losses over held-out images would leave without noise; "
            f"set {typed('early-stop', '0')}"
        )
    if config.weighted_by_samples:
        return (
            f"{name} takes no weighted-by-samples: the number of a site's images is withheld; set "
            f"{typed('weighted-by-samples', 'false')}"
        )
    return "; ".join(refusals(config.rule, client_dp=mechanism.by_server))
