"""What a site answers in a round of training, and the checks that it passes before it counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.plan import LocalPlan

__all__ = ["Update", "change_of", "check_update", "countable"]

LARGEST = 1e9  # of a number in an update; sums of squares of such stay far within float32
LEAST = 1e-12  # a number that is as good as 0
ROUNDING = 1e-6  # two machines may differ so much, relatively, in ‖a‖₁


@dataclass(frozen=True)
class Update:
    """A site's answer.

    Attributes:
        round: version of the model x that the site trained from.
        change: y − x, float32 by name.
        examples: nᵢ, that it trained on.
        steps: Kᵢ.
        weight: ‖aᵢ‖₁ (`LocalPlan.weight`).
        control: cᵢ⁺ − cᵢ, float32 by name, with SCAFFOLD.
        fresh: its cᵢ was 0: the site has lost what it kept, or never had any.
    """

    site: str
    round: int
    change: Arrays
    examples: int
    steps: int
    weight: float
    control: Arrays | None = None
    fresh: bool = False


def change_of(y: Mapping[str, np.ndarray], x: Mapping[str, np.ndarray]) -> Arrays:
    """y − x by name, float32."""
    return {name: np.asarray(y[name] - x[name], np.float32) for name in x}


def countable(change: Arrays) -> Arrays:
    """A change that can be divided by its norm, as clipping does: never of nothing at all."""
    if any(one.any() for one in change.values()):
        return change
    name = min(change)
    least = np.array(change[name])
    least.flat[0] = LEAST
    return {**change, name: least}


def check_update(
    update: Update,
    like: Mapping[str, np.ndarray],
    round: int,
    *,
    oldest: int | None = None,
    plan: LocalPlan | None = None,
    control: bool = False,
) -> None:
    """Whether an update can be used for the model ``like`` of version ``round``.

    Args:
        oldest: version that is not yet too stale; ``round`` if None.
        plan: what the site was told to do; its counts are held to it.
        control: whether a control variate must come with it.

    Raises:
        TrainingError: names, shapes, dtype or round are others, a number is not finite or beyond
            1e9, or the counts do not fit; names the site.
    """
    who = f"the update of site '{update.site}'"
    oldest = round if oldest is None else oldest
    if not oldest <= update.round <= round:
        meant = f"of round {round}" if oldest == round else f"of rounds {oldest} to {round}"
        raise TrainingError(
            f"{who} starts from the model of round {update.round}, but models {meant} are wanted: "
            "it came late or from another run, and is left out"
        )
    _like(update.change, like, who)
    if (update.control is not None) != control:
        raise TrainingError(
            f"{who} comes {'without a' if control else 'with an unasked'} control variate: set the "
            "same optimiser and version at every site"
        )
    if update.control is not None:
        _like(update.control, like, f"the control variate of site '{update.site}'")
    _counts(update, plan, who)


def _like(arrays: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray], who: str) -> None:
    if set(arrays) != set(like):
        odd = ", ".join(sorted(set(arrays) ^ set(like))[:3])
        raise TrainingError(f"{who} has other parameters than the model ({odd}); is it another?")
    for name, one in arrays.items():
        if one.shape != like[name].shape or one.dtype != np.float32:
            raise TrainingError(
                f"{who} is {one.dtype} {list(one.shape)} at '{name}', the model is float32 "
                f"{list(like[name].shape)}; is it another model?"
            )
        largest = float(np.max(np.abs(one), initial=0.0))
        if not largest <= LARGEST:  # NaN neither
            raise TrainingError(
                f"{who} holds {largest:g} at '{name}', which is no number a model can use; set a "
                "smaller learning-rate, or look what is wrong at that site"
            )


def _counts(update: Update, plan: LocalPlan | None, who: str) -> None:
    if update.examples < 1 or update.steps < 1:
        raise TrainingError(
            f"{who} claims {update.steps} steps on {update.examples} examples; there must be some"
        )
    if not (math.isfinite(update.weight) and update.weight > 0):
        raise TrainingError(f"{who} claims a weight of {update.weight:g}; it must be above 0")
    if plan is None:
        return
    if update.steps != plan.steps(update.examples):
        raise TrainingError(
            f"{who} claims {update.steps} steps on {update.examples} examples, which make "
            f"{plan.steps(update.examples)} by the run's settings; it is left out"
        )
    due = plan.weight(update.steps)
    if abs(update.weight - due) > ROUNDING * due:
        raise TrainingError(
            f"{who} claims a weight of {update.weight:g} where {update.steps} steps weigh {due:g}; "
            "it is left out"
        )
