"""A private site's part in a secure sum: its noisy sums, masked, and what opens them as a whole.

What is kept between exchanges lies beside the ledger, for the owner alone. The masked vector is
charged before it leaves, whether or not the sum ever opens.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpatchcore.errors import PrivacyError, SecureSumError
from fedpatchcore.files import private_folder, write_atomically
from fedpatchcore.privacy.codebook import ANY
from fedpatchcore.privacy.discrete import discrete_gaussian
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.round_noise import round_sigma, sums_over
from fedpatchcore.privacy.shared_noise import alone_multiplier, share_steps
from fedpatchcore.privacy.sums import ImageSums
from fedpatchcore.securesums.site_half import SiteHalf
from fedpatchcore.site.charging import ledger_of, noted
from fedpatchcore.site.private import Work, released_sums
from fedpatchcore.wire.sums import Place, SumsQuestion, SumsReply, terms_of

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["secure_reply"]

KEPT_SECONDS = 2 * 86400.0  # of a half that never opened: its secrets go then
LONGEST = 2**26  # numbers of a vector: half a gigabyte


def secure_reply(site: Site, question: SumsQuestion, *, run: str, number: int) -> SumsReply:
    """The answer to one exchange of the secure sum of a run's round.

    Raises:
        SecureSumError: no roster, or a question that no honest server asks.
        PrivacyError: the site's policy, budget or ledger forbids it, or the codebooks are not
            those that were named. Nothing has left then.
    """
    config = site.config
    site.policy.allow(config, site.name)
    if not config.secure_sums:
        raise PrivacyError("a secure sum is asked for in a run that does not say secure-sums")
    ledger_of(site)
    identity, roster = site.member(run)
    terms = terms_of(config, question.layout, run, number, config.num_rounds)
    if terms.length > LONGEST:
        raise PrivacyError(f"a secure sum of {terms.length:,} numbers, at most {LONGEST:,}")
    kept = _Kept(site.policy.sums_folder, run, number)
    state = kept.read()
    words = (terms, site.name, identity, roster)
    half = SiteHalf.resumed(*words, state["half"]) if state else SiteHalf(*words)
    vector = state.get("vector", "")
    notes: list[LedgerNote] = []

    def add(mask: np.ndarray, openers: int) -> np.ndarray:
        nonlocal vector
        masked = np.frombuffer(bytes.fromhex(vector), terms.dtype) if vector else None
        if masked is None:
            masked = _masked(site, question, mask, openers, run)
            vector = masked.tobytes().hex()
        return masked

    letter = half.answer(question.letter, add)
    kept.write({"half": half.state(), "vector": "" if half.finished else vector})
    if letter.exchange == "masked":
        notes.append(noted(site, [], round_sigma(config, config.num_rounds)))
    teaches = tuple(sorted(set(site.sections()) & {place.section for place in question.layout}))
    return SumsReply(
        site.name,
        letter,
        teaches if letter.exchange == "keys" else (),
        notes[0] if notes else None,
    )


def _masked(
    site: Site, question: SumsQuestion, mask: np.ndarray, openers: int, run: str
) -> np.ndarray:
    """This site's sums with its share of the noise and the mask, all of it charged."""
    own, parts, at = set(site.sections()), [], 0
    for place in question.layout:
        mechanism = _mechanism(site, question, place)
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


def _mechanism(site: Site, question: SumsQuestion, place: Place) -> ImageSums:
    """The mechanism over the codebook that was named first and came now. Raises PrivacyError."""
    book = question.codebooks.get(place.section) or question.codebooks.get(ANY)
    if book is None or len(book.centre) != site.backbone.fingerprint.dimension:
        raise PrivacyError(f"the server sent no codebook that fits section '{place.section}'")
    if book.digest != place.codebook:
        raise PrivacyError(
            f"the server sent another codebook for section '{place.section}' than it named"
        )
    mechanism = sums_over(site.config, book, site.config.num_rounds)
    if reason := mechanism.misfit(book, site.config):
        raise PrivacyError(reason)
    if mechanism.shape != (place.rows, place.columns):
        raise PrivacyError(
            f"the server names {place.rows} × {place.columns} numbers for section "
            f"'{place.section}', which has {mechanism.shape}"
        )
    return mechanism


class _Kept:
    """The file of one sum's half: one for a run's round, so that a second can't be begun."""

    def __init__(self, folder: Path, run: str, number: int) -> None:
        name = hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._folder, self._path = folder, folder / f"{name}-{number}.json"

    def read(self) -> Mapping[str, Any]:
        """What was kept; empty if nothing was. Raises SecureSumError if it cannot be read."""
        try:
            told = json.loads(self._path.read_text())
            if not isinstance(told, dict) or "half" not in told:
                raise ValueError("no half of a sum")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SecureSumError(
                f"the kept half of a secure sum {self._path} cannot be read ({error}): this site "
                "sits the round out"
            ) from None
        return told

    def write(self, told: Mapping[str, Any]) -> None:
        """Keep it, durably and for the owner alone; halves of long ago go."""
        try:
            private_folder(self._folder)
            self._forget()
            write_atomically(self._path, json.dumps(told).encode())
            self._path.chmod(0o600)
        except OSError as error:
            raise SecureSumError(
                f"cannot keep {self._path} ({error.strerror or error}): nothing was sent; free "
                "space or make the folder writable"
            ) from None

    def _forget(self) -> None:
        before = time.time() - KEPT_SECONDS
        for old in self._folder.glob("*-*.json"):
            with suppress(OSError):
                if old.stat().st_mtime < before:
                    old.unlink()
