"""What a bank claims, whether an audit contradicts it, and both in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.privacy.audit.canaries import MechanismAudit
from fedpatchcore.privacy.audit.membership import Membership
from fedpatchcore.privacy.audit.reconstruction import Reconstruction
from fedpatchcore.privacy.audit.refutation import EpsilonBound

__all__ = [
    "Attacks",
    "Claim",
    "bank_verdict",
    "claim_of",
    "contradicts",
    "figure",
    "mechanism_verdict",
    "plain",
]

DELTA = 1e-5  # for banks that state none
Attacks = Mapping[str, tuple[Membership, EpsilonBound]]


@dataclass(frozen=True)
class Claim:
    """What a bank's header says of one training image; ε is infinite where it says nothing."""

    mechanism: str
    epsilon: float
    delta: float

    def __str__(self) -> str:
        if math.isinf(self.epsilon):
            return "no protection of its training images"
        return f"{self.mechanism}, ε = {self.epsilon:g} at δ = {self.delta:g}"


def claim_of(privacy: Mapping[str, Any]) -> Claim:
    """The claim in a bank's ``privacy`` entry; of several entries the weakest.

    >>> claim_of({"mechanism": "cells", "epsilon": 1.0, "delta": 1e-5}).epsilon
    1.0
    >>> claim_of({"mechanism": "off"}).epsilon
    inf
    """
    entries = list(_tables(privacy))
    kinds = sorted({str(e["mechanism"]) for e in entries if "mechanism" in e} - {"off", "none"})
    stated = {name: [_number(e.get(name)) for e in entries] for name in ("epsilon", "delta")}
    epsilons, deltas = ([v for v in values if v is not None] for values in stated.values())
    epsilon = max(epsilons, default=math.inf) if kinds else math.inf
    delta = max((d for d in deltas if 0 < d < 1), default=DELTA)
    return Claim(", ".join(kinds) or "off", epsilon, delta)


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _tables(item)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def contradicts(claim: Claim, attacks: Attacks, copied: Reconstruction) -> bool:
    """Does a bank expose more than it claims? One without a claim cannot."""
    if math.isinf(claim.epsilon):
        return False
    return copied.copies > 0 or any(b.epsilon > claim.epsilon for _, b in attacks.values())


def bank_verdict(claim: Claim, attacks: Attacks, copied: Reconstruction) -> str:
    """One or two plain sentences."""
    shown = max(bound.epsilon for _, bound in attacks.values())
    best = max((found for found, _ in attacks.values()), key=lambda found: found.auroc)
    facts = f"{copied.copies:.0%} of its rows are patches of member images, and the best attack "
    rates = [r for found, _ in attacks.values() for r in found.rates if not r.reason]
    if rates:
        strict = min(r.false_positive for r in rates)
        found = max(r.true_positive for r in rates if r.false_positive == strict)
        facts += f"finds {found:.0%} of them while {strict:.1%} of the others are accused wrongly"
    else:
        facts += f"has an AUROC of {best.auroc:.3f} (0.5 is guessing)"
    if contradicts(claim, attacks, copied):
        return (
            f"If both folders hold comparable images, the claim of ε = {claim.epsilon:g} does not "
            f"hold: {facts}; ε ≥ {figure(shown)} shows."
        )
    if math.isfinite(claim.epsilon):
        return (
            f"Nothing here contradicts ε = {claim.epsilon:g}: {facts}. "
            "Attacks that fail are no proof."
        )
    if copied.copies > 0 or best.low > 0.5:
        return f"This bank gives images away that it was made of, and claims no more: {facts}."
    return f"This bank claims no protection; these attacks prove nothing by failing: {facts}."


def mechanism_verdict(result: MechanismAudit) -> str:
    """One or two plain sentences."""
    shown = figure(result.shown)
    if result.kind == "raw":
        return (
            f"Rows as they are hide nothing and claim nothing: one image owns {result.rows} of "
            f"them, and every run tells whether it was there (ε ≥ {shown}, all that runs can show)."
        )
    if not result.contradicted:
        return (
            f"Nothing here contradicts ε = {result.claimed:g}: the worst image known shows "
            f"ε ≥ {shown}. That the claim holds is for the proof to say, not for an audit."
        )
    if result.kind == "per-vector":
        return (
            f"ε = {result.claimed:g} is of one row, not of an image: one image owns {result.rows} "
            f"rows, moves the release {result.moved:.1f} times as far as the noise was made for, "
            f"and shows ε ≥ {shown}."
        )
    return f"The claim of ε = {result.claimed:g} does not hold: the audit shows ε ≥ {shown}."


def figure(value: float) -> str:
    """An ε for people."""
    return "∞" if math.isinf(value) else f"{value:.2f}"


def plain(value: Any) -> Any:
    """For JSON, which knows no infinity (text) and no undefined number (null)."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity"
    return value
