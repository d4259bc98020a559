"""A site's updates of models, added to those of the others under masks.

A train message makes the site train as ever; its updates stay beside its ledger until the sum asks
for them, and its answer brings what goes beside them (rows, counts), or nothing. With
``dp = "client"`` each section is charged before its masked numbers leave, and what leaves has the
site's share of the noise. As with figures, sites refuse a sum in which a section's total would be
that of too few of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.errors import SecureSumError
from fedpatchcore.learned.carried import MARK, VALUES, is_carried
from fedpatchcore.learned.masked import numbers_of
from fedpatchcore.privacy.discrete import discrete_gaussian
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.shared_noise import alone_multiplier, share_steps
from fedpatchcore.privacy.training_noise import client_multiplier
from fedpatchcore.site.charging import ledger_of, noted, release, request_for
from fedpatchcore.site.keeping import Kept
from fedpatchcore.site.secure import Adds
from fedpatchcore.wire.basis import is_of, over
from fedpatchcore.wire.messages import TrainReply
from fedpatchcore.wire.sums import Layout, Place, SumsQuestion, few_makers

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["adds", "keep_updates"]


def keep_updates(site: Site, reply: TrainReply, *, run: str, number: int, basis: str) -> TrainReply:
    """Keep a site's updates for the round's sum; what may leave of its reply.

    Of an update that is its mark alone, by which the server knows that there is one.

    Args:
        basis: what they were made from (`fedpatchcore.wire.basis`).

    Raises SecureSumError if they cannot be kept, TrainingError if they do not fit into a sum.
    """
    config, given = site.config, reply.contribution
    if given is None:
        return reply
    parts, arrays, told = {}, {}, []
    for name, part in given.parts.items():
        own = part.read_beside()
        if VALUES in own:
            values = np.asarray(own[VALUES]).ravel()
            arrays[str(len(told))] = numbers_of(values, config, config.num_rounds)
            layout = np.asarray(own[MARK], np.uint8).tobytes().hex()
            told.append({"section": name, "layout": layout, "images": list(site.taught(name))})
        rest = {key: one for key, one in own.items() if key == MARK or not is_carried(key)}
        parts[name] = Part(part.features, part.images, part.patches, part.radius, rest)
    about = {"sections": told, "basis": basis}
    Kept(site.policy.sums_folder, run, number, "updates").put(about, arrays)
    return replace(reply, contribution=Contribution(given.site, given.fingerprint, parts))


def adds(site: Site, question: SumsQuestion, kept: Kept, run: str, *, begun: bool) -> Adds:
    """What the site adds. Raises SecureSumError or PrivacyError."""
    config, layout = site.config, question.layout
    if not (config.secure_sums and config.kind.learned):
        raise SecureSumError(
            "updates are asked for under masks in a run that does not say secure-sums"
        )
    private = config.dp != "off"
    if private:
        ledger_of(site)

    def fits(claims: Mapping[str, bytes]) -> str:
        return few_makers(layout, claims, config.colluding_sites)

    def masked(mask: np.ndarray, openers: int) -> np.ndarray:
        told, arrays = kept.numbers()
        _check(told, layout)
        own = {one["section"]: (one, arrays[str(n)]) for n, one in enumerate(told["sections"])}
        parts, at = [], 0
        for place in layout:
            hidden = mask[at : at + place.size].view(np.int64)
            at += place.size
            about, numbers = own.get(place.section, ({}, np.zeros(place.size, np.int64)))
            if len(numbers) != place.size:
                raise SecureSumError(
                    f"the server asks for {place.size:,} numbers of section '{place.section}', "
                    f"this site has {len(numbers):,}"
                )
            if not private:
                parts.append(numbers + hidden)
            else:
                parts.append(_noisy(site, place, about, numbers, hidden, openers, run))
        return np.concatenate(parts).view(np.uint64)

    def note() -> LedgerNote | None:
        return noted(site, [], client_multiplier(config, config.num_rounds)) if private else None

    if begun:
        return Adds(masked, note, fits=fits)
    told = kept.numbers()[0]
    _check(told, layout)
    sections = {one["section"] for one in told["sections"]}
    claim = np.packbits([place.section in sections for place in layout]).tobytes()
    return Adds(masked, note, claim=claim, fits=fits)


def _check(told: Mapping[str, Any], layout: Layout) -> None:
    """Raise SecureSumError unless the sum is of what this site's numbers were made from."""
    basis, own = told["basis"], {one["section"]: one["layout"] for one in told["sections"]}
    for place in layout:
        mine = own.get(place.section)
        if not is_of(place.codebook, basis) or (mine and place.codebook != over(mine, basis)):
            raise SecureSumError(
                f"the server asks for updates of section '{place.section}' from another model, or "
                "by other settings, than this site has trained: nothing is added"
            )


def _noisy(
    site: Site,
    place: Place,
    about: Mapping[str, object],
    numbers: np.ndarray,
    hidden: np.ndarray,
    openers: int,
    run: str,
) -> np.ndarray:
    """A section's numbers with this site's share of the noise and the mask, charged."""
    config = site.config
    share = share_steps(openers, config.colluding_sites)

    def draw() -> dict[str, np.ndarray]:
        return {"values": numbers + discrete_gaussian(share, len(numbers)) + hidden}

    if not about:  # its share of the noise is needed all the same
        return draw()["values"]
    multiplier = client_multiplier(config, config.num_rounds)
    masked = hashlib.sha256(hidden.tobytes()).hexdigest()
    request = request_for(
        site,
        place.section,
        config.dp,
        multiplier,
        about["images"],
        run,
        ("masked", share, place.codebook, config.dp_clip, masked),
        alone=alone_multiplier(multiplier, openers, config.colluding_sites),
    )
    return release(site, request, draw).arrays["values"]
