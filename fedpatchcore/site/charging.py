"""A site's ledger as its answers use it: what a release is asked for with, charged, and told of."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.accounting import max_delta
from fedpatchcore.privacy.ledger import Ledger, Released, Request
from fedpatchcore.privacy.load import Load, load_of
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.privacy.releases import LedgerNote

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["check_delta", "ledger_of", "noted", "release", "request_for"]


def ledger_of(site: Site) -> Ledger:
    """The site's ledger. Raises PrivacyError if it has none."""
    if site.policy.ledger is None:
        raise PrivacyError(f"site '{site.name}' has no ledger: name a folder with ledger='...'")
    return site.policy.ledger


def request_for(
    site: Site,
    section: str,
    mechanism: str,
    multiplier: float,
    images: Iterable[str],
    run: str,
    recipe: tuple[object, ...],
    *,
    alone: float | None = None,
    rate: float | None = None,
    steps: int | None = None,
) -> Request:
    """A section's release of a run, for the site's ledger.

    Args:
        recipe: all that tells it from others of the run; asked for again, it has the same key.
        alone: noise multiplier if all others collude.
        rate, steps: of steps that take an image by chance (`fedpatchcore.privacy.load`).
    """
    images = sorted(set(images))
    # Of this run and no other: sent again in a later run, equal bytes would tell, without any
    # noise, that the images are still the same.
    told = (
        run,
        mechanism,
        site.backbone.fingerprint.digest,
        site.name,
        section,
        multiplier,
        recipe,
    )
    return Request(
        key=hashlib.sha256(repr(told).encode()).hexdigest(),
        run=run,
        site=site.name,
        section=section,
        mechanism=mechanism,
        epsilon=load_of(multiplier, rate, steps).epsilon(site.config.dp_delta),
        delta=site.config.dp_delta,
        multiplier=multiplier,
        alone=alone,
        alone_budget=site.policy.alone_limit(site.config),
        rate=rate,
        steps=steps,
        images=images,
        label=MECHANISMS[mechanism].words("label", secure=site.config.secure_sums),
        # of rows the nominal epsilon is none of an image's: there the budget alone decides
        run_epsilon=site.config.dp_epsilon if MECHANISMS[mechanism].per_image else math.inf,
    )


def check_delta(config: RunConfig, images: int) -> None:
    """Raise PrivacyError where δ is too large for so many images."""
    if config.dp_delta > max_delta(images):
        raise PrivacyError(
            f"dp-delta={config.dp_delta:g} is too large for the images here: it must not exceed "
            "the smaller of 1e-5 and 1/(10 × number of images)"
        )


def release(site: Site, request: Request, draw: Callable[[], Mapping[str, np.ndarray]]) -> Released:
    """Through the site's ledger, and said in its log."""
    limit = site.policy.limit(site.config)
    released = site.policy.ledger.release(request, draw, budget_epsilon=limit, delta=request.delta)
    whole = MECHANISMS[request.mechanism].per_image
    unit = "per image" if whole else "per vector, not per image; for an image"
    if MECHANISMS[request.mechanism].by_server:
        unit = "of the site, whose images are all protected together"
        unit += ", once the server adds the noise;" if site.config.seen else ";"
    if request.alone is not None:
        unit += f"; ε={released.alone:.4g} spent if all others collude"
    site.say(
        f"{request.section}: private release ({request.mechanism}, {unit} "
        f"ε={request.epsilon:.4g}, δ={request.delta:g}), ε spent {released.spent:.4g} of {limit:g}"
        + (", sent before: not charged again" if released.again else "")
    )
    return released


def noted(site: Site, again: list[bool], asked: float | Load) -> LedgerNote:
    """What the site's ledger says after a release of that noise multiplier, or that load."""
    config = site.config
    told = site.policy.ledger.summary(config.dp_delta, site.policy.limit(config))
    return LedgerNote(
        mechanism=config.dp,
        asked=(asked if isinstance(asked, Load) else load_of(asked, None, None)).epsilon(
            config.dp_delta
        ),
        again=bool(again) and all(again),
        **{**told, "begun": told["begun"] or ""},
    )
