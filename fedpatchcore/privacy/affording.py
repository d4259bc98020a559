"""Whether a site's budgets suffice for one more release: its own, the run's, and that alone."""

from __future__ import annotations

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.balance import Balance
from fedpatchcore.privacy.load import load_of
from fedpatchcore.privacy.records import Request

__all__ = ["afford"]

SLACK = 1e-9  # of a budget: sums in another order


def afford(balance: Balance, request: Request, budget: float, delta: float) -> None:
    """Raise PrivacyError, naming the figures, for a release that a budget does not suffice for."""
    more = load_of(request.multiplier, request.rate, request.steps)
    after = balance.epsilon(request.images, delta, more=more)
    if after > budget + SLACK:
        before = balance.epsilon(request.images, delta)
        alone = more.epsilon(delta)
        raise PrivacyError(
            f"privacy budget of {request.site} for section {request.section}: "
            f"ε={before:.4g} is spent on these images, {alone:.4g} is asked and would make "
            f"{after:.4g} of {budget:.4g} at δ={delta:g}; raise dp-budget-epsilon or use new "
            "images"
        )
    if request.alone is not None:
        _afford_alone(balance, request, delta)
    cost = balance.epsilon(request.images, delta, more=more, here=True)
    if cost > request.run_epsilon + SLACK:
        raise PrivacyError(
            f"{request.site} has answered this run: one more release for section "
            f"{request.section} would make it cost an image ε={cost:.4g}, and its dp-epsilon "
            f"is {request.run_epsilon:g}"
        )


def _afford_alone(balance: Balance, request: Request, delta: float) -> None:
    more = load_of(request.alone, None, None)
    after = balance.epsilon(request.images, delta, more=more, alone=True)
    if after > request.alone_budget + SLACK:
        raise PrivacyError(
            f"privacy budget of {request.site} for section {request.section}: if all other "
            f"sites collude with the server, ε would be {after:.4g} of "
            f"{request.alone_budget:g} at δ={delta:g}; raise dp-alone-epsilon, let fewer sites "
            "open (min-openers), or use new images"
        )
