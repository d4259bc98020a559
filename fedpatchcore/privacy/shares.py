"""How the rounds of a run with noisy sums share its budget."""

from __future__ import annotations

from typing import Any

__all__ = ["round_share", "surveys"]


def surveys(config: Any, rounds: int) -> bool:
    """Whether the first of so many rounds looks where the others cut (`privacy.survey`).

    Args:
        config: the settings of privacy.
    """
    mechanism = config.mechanism if config.dp_combine == "sum" else None
    return (
        rounds > 1
        and mechanism is not None
        and "dp_first_share" in mechanism.own
        and config.dp_first_share > 0
    )


def round_share(config: Any, rounds: int, number: int) -> float:
    """Share of a round in the budget, 1/σ² of all rounds, which is what adds up.

    Args:
        number: of the round, from 1.
    """
    if not surveys(config, rounds):
        return 1 / rounds
    return config.dp_first_share if number <= 1 else (1 - config.dp_first_share) / (rounds - 1)
