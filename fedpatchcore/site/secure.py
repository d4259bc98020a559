"""A site's part in a secure sum: what it adds, masked, and what opens the sum as a whole.

What is added depends on what the sum is about: noisy sums (here), or figures of test images
(`fedpatchcore.site.secure_figures`). Numbers that cost privacy are charged before they leave,
whether or not the sum ever opens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.codebook import ANY
from fedpatchcore.privacy.discrete import discrete_gaussian
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.round_noise import round_sigma, sums_over
from fedpatchcore.privacy.shared_noise import alone_multiplier, share_steps
from fedpatchcore.privacy.sums import ImageSums
from fedpatchcore.securesums.site_half import Add, Fits, SiteHalf
from fedpatchcore.site.charging import ledger_of, noted
from fedpatchcore.site.keeping import Kept
from fedpatchcore.site.private import Work, released_sums
from fedpatchcore.wire.sums import Place, SumsQuestion, SumsReply, terms_of

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["Adds", "secure_reply"]

LONGEST = 2**26  # numbers of a vector: half a gigabyte
MODULES = {"figures": "secure_figures", "updates": "secure_updates"}


@dataclass(frozen=True)
class Adds:
    """What a site adds to a sum.

    Attributes:
        masked: from mask and number of openers the masked vector, all of it charged.
        note: what the ledger says once it left; None where nothing was charged.
        sections: those that this site adds to.
        claim, fits: see `SiteHalf`.
    """

    masked: Add
    note: Callable[[], LedgerNote | None] = lambda: None
    sections: tuple[str, ...] = ()
    claim: bytes = b""
    fits: Fits | None = None


def secure_reply(site: Site, question: SumsQuestion, *, run: str, number: int) -> SumsReply:
    """The answer to one exchange of a secure sum of a run's round.

    Raises:
        SecureSumError: no roster, nothing to add, or a question that no honest server asks.
        PrivacyError: the site's policy, budget or ledger forbids it, or the codebooks are not
            those that were named. Nothing has left then.
    """
    site.policy.allow(site.config, site.name)
    kept = Kept(site.policy.sums_folder, run, number, question.about)
    with kept.alone():
        return _answered(site, question, kept, run, number)


def _answered(site: Site, question: SumsQuestion, kept: Kept, run: str, number: int) -> SumsReply:
    config, state = site.config, kept.read()
    adds = _adds(site, question, kept, run, number, begun=bool(state))
    identity, roster = site.member(run)
    terms = terms_of(config, question.layout, run, number, config.num_rounds, question.about)
    if terms.length > LONGEST:
        raise PrivacyError(f"a secure sum of {terms.length:,} numbers, at most {LONGEST:,}")
    words = (terms, site.name, identity, roster)
    if state:
        half = SiteHalf.resumed(*words, state["half"], fits=adds.fits)
    else:
        half = SiteHalf(*words, claim=adds.claim, fits=adds.fits)
    vector = state.get("vector", "")

    def add(mask: np.ndarray, openers: int) -> np.ndarray:
        nonlocal vector
        masked = np.frombuffer(bytes.fromhex(vector), terms.dtype) if vector else None
        if masked is None:
            masked = adds.masked(mask, openers)
            vector = masked.tobytes().hex()
        return masked

    letter = half.answer(question.letter, add)
    kept.write({"half": half.state(), "vector": "" if half.finished else vector})
    if half.finished:
        kept.drop()
    exchange = letter.exchange
    note = adds.note() if exchange == "masked" else None
    return SumsReply(site.name, letter, adds.sections if exchange == "keys" else (), note)


def _adds(
    site: Site, question: SumsQuestion, kept: Kept, run: str, number: int, *, begun: bool
) -> Adds:
    if question.about != "sums":
        module = import_module(f"fedpatchcore.site.{MODULES[question.about]}")
        return module.adds(site, question, kept, run, begun=begun)
    config = site.config
    if not (config.secure_sums and config.sums):
        raise PrivacyError("a secure sum is asked for in a run that does not say secure-sums")
    ledger_of(site)
    return Adds(
        lambda mask, openers: _noisy_sums(site, question, mask, openers, run, number),
        lambda: noted(site, [], round_sigma(config, config.num_rounds, number)),
        tuple(sorted(set(site.sections()) & {place.section for place in question.layout})),
    )


def _noisy_sums(
    site: Site, question: SumsQuestion, mask: np.ndarray, openers: int, run: str, number: int
) -> np.ndarray:
    """This site's sums with its share of the noise and the mask, all of it charged."""
    own, parts, at = set(site.sections()), [], 0
    for place in question.layout:
        mechanism = _mechanism(site, question, place, number)
        hidden = mask[at : at + place.size]
        at += place.size
        share = share_steps(openers, site.config.colluding_sites)

        def drawn(total: np.ndarray, share: float = share, hidden: np.ndarray = hidden):
            noise = discrete_gaussian(share, total.size)
            return {"values": (total.ravel() + noise) + hidden.view(np.int64)}

        if place.section not in own:  # its share of the noise is needed all the same
            parts.append(drawn(np.zeros(place.size, np.int64))["values"])
            continue
        work = Work(
            mechanism,
            drawn,
            recipe=("masked", share, hashlib.sha256(hidden.tobytes()).hexdigest()),
            alone=alone_multiplier(mechanism.sigma, openers, site.config.colluding_sites),
        )
        parts.append(released_sums(site, place.section, work, run).arrays["values"])
    return np.concatenate(parts).view(np.uint64)


def _mechanism(site: Site, question: SumsQuestion, place: Place, number: int) -> ImageSums:
    """The mechanism over the codebook that was named first and came now. Raises PrivacyError."""
    book = question.codebooks.get(place.section) or question.codebooks.get(ANY)
    if book is None or len(book.centre) != site.backbone.fingerprint.dimension:
        raise PrivacyError(f"the server sent no codebook that fits section '{place.section}'")
    if book.digest != place.codebook:
        raise PrivacyError(
            f"the server sent another codebook for section '{place.section}' than it named"
        )
    mechanism = sums_over(site.config, book, site.config.num_rounds, number)
    if reason := mechanism.misfit(book, site.config):
        raise PrivacyError(reason)
    if mechanism.shape != (place.rows, place.columns):
        raise PrivacyError(
            f"the server names {place.rows} × {place.columns} numbers for section "
            f"'{place.section}', which has {mechanism.shape}"
        )
    return mechanism
