"""Letters of a secure sum ↔ packets: what a round's exchanges are told with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fedpatchcore.errors import CoresetError, SecureSumError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.round_noise import round_sigma
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.securesums.letters import EXCHANGES, Letter, framed
from fedpatchcore.securesums.terms import Terms
from fedpatchcore.texts import is_name, one_line
from fedpatchcore.wire.bounds import SECTIONS, is_count
from fedpatchcore.wire.codebooks import pack_codebooks, unpack_codebooks
from fedpatchcore.wire.packet import (
    Packet,
    check_texts,
    names_told,
    raise_failure,
    site_told,
    unreadable,
)
from fedpatchcore.wire.train import ledger_note

__all__ = [
    "ABOUT",
    "FIGURES",
    "Layout",
    "Place",
    "SumsQuestion",
    "SumsReply",
    "few_makers",
    "least_makers",
    "pack_question",
    "pack_sums",
    "terms_of",
    "unpack_question",
    "unpack_sums",
]

MARK = "letter/"  # before the names of a letter's arrays
ABOUT = ("sums", "figures", "updates")  # noisy sums, figures of test images, of models
CLAIMED = ("figures", "updates")  # where sites sign which places they add to
FIGURES = "figures-1"  # stands for a codebook where figures are added, and for their version


@dataclass(frozen=True)
class Place:
    """What one section has in the vector: ``rows`` × ``columns`` numbers over one codebook."""

    section: str
    codebook: str
    rows: int
    columns: int

    @property
    def size(self) -> int:
        """Numbers."""
        return self.rows * self.columns


Layout = tuple[Place, ...]  # of the whole vector, section after section


@dataclass(frozen=True)
class SumsQuestion:
    """What a site is asked in one exchange.

    Attributes:
        layout: of the vector; the same in all exchanges of a round.
        codebooks: with the exchange "masked" alone.
        about: one of `ABOUT`; noisy sums and figures of a round are two sums.
    """

    letter: Letter
    layout: Layout
    codebooks: Mapping[str, Codebook] = field(default_factory=dict)
    about: str = "sums"


@dataclass(frozen=True)
class SumsReply:
    """A site's answer.

    Attributes:
        sections: with "keys", those that this site will add to.
        privacy: with "masked", what its ledger says.
    """

    site: str
    letter: Letter
    sections: tuple[str, ...] = ()
    privacy: LedgerNote | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the letter."""
        return self.letter.nbytes


def terms_of(
    config: PrivacySettings,
    layout: Layout,
    run: str,
    number: int,
    rounds: int,
    about: str = "sums",
) -> Terms:
    """The terms of a round's sum, as both sides work them out. Raises SecureSumError."""
    places = [[p.section, p.codebook, p.rows, p.columns] for p in layout]
    words, noise = (
        [about],
        [config.dp, repr(round_sigma(config, rounds, number)), repr(config.dp_delta)],
    )
    if about == "sums":
        words = noise
    elif about == "updates":
        words += [*noise, repr(config.dp_clip)] if config.dp != "off" else [config.dp]
    return Terms(
        run,
        number,
        hashlib.sha256(framed(*words, json.dumps(places))).hexdigest(),
        sum(place.size for place in layout),
        config.min_openers,
        config.colluding_sites,
        claim=-(-len(layout) // 8) if about in CLAIMED else 0,
    )


def least_makers(colluding: int) -> int:
    """Sites that must add to a place, so that its total is no single one's: two honest ones."""
    return 2 + colluding


def few_makers(layout: Layout, claims: Mapping[str, bytes], colluding: int) -> str:
    """Why such a sum would show a site's own numbers; "" if it does not.

    Args:
        claims: by site a bit for each place that it adds to.
    """
    rows = [np.frombuffer(claim, np.uint8) for claim in claims.values()]
    counts = np.unpackbits(np.stack(rows), axis=1)[:, : len(layout)].sum(0)
    least = least_makers(colluding)
    for place, count in zip(layout, counts.tolist(), strict=True):
        if 0 < count < least:
            return (
                f"only {count} of the {len(claims)} sites of this sum add to '{place.section}': "
                f"its total would be as good as a site's own numbers; at least {least} must "
                "(2 + colluding-sites)"
            )
    return ""


def pack_question(question: SumsQuestion) -> Packet:
    """A question as a packet."""
    packet = pack_codebooks(question.codebooks) if question.codebooks else Packet()
    places = [[p.section, p.codebook, p.rows, p.columns] for p in question.layout]
    told = {**packet.texts, **_texts(question.letter), "layout": json.dumps(places)}
    told["about"] = question.about
    return Packet({**packet.arrays, **_arrays(question.letter)}, {}, told)


def unpack_question(packet: Packet) -> SumsQuestion:
    """Inverse of `pack_question`. Raises SecureSumError or PrivacyError."""
    try:
        layout = tuple(Place(*one) for one in json.loads(str(packet.texts["layout"])))
        if not 0 < len(layout) <= SECTIONS or not all(map(_is_place, layout)):
            raise ValueError("places that are none")
        if (about := packet.texts.get("about", "sums")) not in ABOUT:
            raise ValueError(f"a sum about {one_line(repr(about), 40)}")
        letter, rest = _letter(packet)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SecureSumError(
            f"a question of a secure sum that cannot be read ({one_line(repr(error), 200)})"
        ) from None
    books = unpack_codebooks(replace(packet, arrays=rest))
    return SumsQuestion(letter, layout, books, about)


def pack_sums(reply: SumsReply) -> Packet:
    """An answer as a packet."""
    told = {**_texts(reply.letter), "site": reply.site, "sections": list(reply.sections)}
    if reply.privacy is not None:
        told["privacy"] = reply.privacy.model_dump_json()
    return Packet(_arrays(reply.letter), {}, told)


def unpack_sums(packet: Packet) -> SumsReply:
    """Inverse of `pack_sums`. Raises SiteFailure or CoresetError."""
    raise_failure(packet)
    try:
        check_texts(packet)
        letter, rest = _letter(packet)
        if rest:
            raise ValueError("arrays that belong to no letter")
        return SumsReply(
            site_told(packet),
            letter,
            tuple(names_told(packet, "sections")),
            ledger_note(packet.texts.get("privacy")),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, CoresetError):
            raise
        raise unreadable("an answer of a secure sum", error) from None


def _texts(letter: Letter) -> dict[str, object]:
    return {"exchange": letter.exchange, "sites": list(letter.sites)}


def _arrays(letter: Letter) -> dict[str, np.ndarray]:
    return {MARK + name: one for name, one in letter.arrays.items()}


def _letter(packet: Packet) -> tuple[Letter, dict[str, np.ndarray]]:
    """The letter, and arrays that are not its own. Raises KeyError, ValueError, TypeError."""
    exchange = packet.texts["exchange"]
    if exchange not in EXCHANGES:
        raise ValueError(f"no exchange {one_line(repr(exchange), 40)}")
    sites = packet.texts["sites"]
    if isinstance(sites, str) or not all(map(is_name, sites)) or len(sites) > SECTIONS:
        raise ValueError("'sites' are no names")
    own = {k[len(MARK) :]: v for k, v in packet.arrays.items() if k.startswith(MARK)}
    rest = {k: v for k, v in packet.arrays.items() if not k.startswith(MARK)}
    return Letter(exchange, tuple(sites), own), rest


def _is_place(place: Place) -> bool:
    sizes = (place.rows, place.columns)
    return (
        is_name(place.section)
        and isinstance(place.codebook, str)
        and len(place.codebook) <= 64
        and all(is_count(one, 2**24) and one for one in sizes)
    )
