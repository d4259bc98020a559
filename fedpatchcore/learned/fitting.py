"""Which privacy mechanism goes with which method, and what private training refuses."""

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
    early_stop: int
    weighted_by_samples: bool
    secure_sums: bool

    @property
    def kind(self) -> Method: ...

    @property
    def rule(self) -> Optimiser: ...


def unfit(config: _Told, mechanism: Mechanism) -> str:
    """Why these settings do not go together, in one line with its mend; "" if they do."""
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
    if config.robustness_enabled:
        return (
            f"{name} takes no robustness-enabled, which compares rows that do not leave here: set "
            f"{typed('robustness-enabled', 'false')}, and a robust optimiser with dp='sgd'"
        )
    if config.rule.asynchronous:
        return (
            f"{name} takes no optimiser='{config.rule.name}': without rounds nobody knows "
            f"beforehand how often a site answers; set {typed('optimiser', 'fedavg')}"
        )
    return "; ".join(
        refusals(config.rule, client_dp=mechanism.by_server and not config.secure_sums)
    )
