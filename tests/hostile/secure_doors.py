"""Doors of secure sums: questions at a site, answers at the server, a kept half, a roster."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedpatchcore.deploy.certs import make_authority, make_site
from fedpatchcore.deploy.rosters import make_roster
from fedpatchcore.metrics.totals import Totals, numbers_of
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.securesums.letters import EXCHANGES
from fedpatchcore.securesums.roster_file import read_roster
from fedpatchcore.securesums.site_half import SiteHalf
from fedpatchcore.site.keeping import Kept
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.sums import (
    Place,
    SumsQuestion,
    SumsReply,
    pack_question,
    unpack_question,
    unpack_sums,
)
from tests.hostile.mutation import mutated, mutated_json, mutated_packet
from tests.support.codebooks import BOOK
from tests.support.secure import party, until

__all__ = ["SECURE"]

LAYOUT = (Place("plate", BOOK.digest, 1, 7),)


def questions() -> list[Packet]:
    """One of each exchange, and the sum in that state."""
    made = []
    for exchange in EXCHANGES:
        one = until(party(4), exchange)
        books = {"plate": BOOK} if exchange == "masked" else {}
        made.append(pack_question(SumsQuestion(one.server.question("a"), LAYOUT, books)))
    return made


def asked(packet: Packet) -> None:
    """A site that was asked honestly until then: it refuses, or the honest sum still comes out."""
    question = unpack_question(packet).letter
    one = party(4)
    if question.exchange in EXCHANGES:
        until(one, question.exchange)
    one.answer("a", question)


def answered(packet: Packet) -> None:
    """A server that goes on: what it takes adds up, or the sum stays closed."""
    reply = unpack_sums(packet)
    one = until(party(4, openers=3), reply.letter.exchange)
    first, exchange = True, one.server.exchange

    def answers(now, site, letter):
        return reply.letter if first and now == exchange and site == "a" else letter

    one.exchange(answers=answers, refused={})
    first = False
    total = one.run(refused={})
    # numbers that were changed are a site's own lie, which no sum shows; all else must fit
    if exchange != "masked":
        assert np.array_equal(total, one.plain(one.server.masked))


def replies() -> list[Packet]:
    made = []
    for exchange in EXCHANGES:
        one = until(party(4, openers=3), exchange)
        letter = one.answer("a", one.server.question("a"))
        made.append(pack(SumsReply("a", letter, ("plate",) if exchange == "keys" else ())))
    return made


def kept_door() -> tuple[list[dict], Callable, Callable]:
    one = until(party(4), "open")
    state = one.sites["a"].state()

    def change(sample: dict, chance: random.Random) -> dict:
        key = chance.choice(list(sample))
        return {**sample, key: mutated_json(sample[key], chance)}

    def take(told: dict) -> None:
        half = SiteHalf.resumed(one.terms, "a", one.identities["a"], one.roster, told)
        half.answer(one.server.question("a"))

    return [json.loads(json.dumps(state))], change, take


def numbers_door(tmp: Path) -> tuple[list[bytes], Callable, Callable]:
    """Numbers that a site kept for a sum: those that it kept, or none."""
    kept = Kept(tmp / "sums", "run", 1, "figures")
    kept.put({"products": ["plate"]}, {"0": np.arange(7)})
    (path,) = (tmp / "sums").glob("*.safetensors")

    def take(data: bytes) -> None:
        path.write_bytes(data)
        told, arrays = kept.numbers()
        assert told == {"products": ["plate"]} and np.array_equal(arrays["0"], np.arange(7))

    return [path.read_bytes()], mutated, take


def totals_door() -> tuple[list[np.ndarray], Callable, Callable]:
    """What figures of sites added up to, whatever a site added."""
    result = {"good": 4, "defective": 3, "threshold": 1.0, "true_positives": 3}
    result |= {"true_negatives": 4, "image_auroc": 1.0}
    scores, labels = np.arange(1.0, 8.0), np.arange(7) >= 4
    honest = numbers_of(result, scores, labels, cells=len(CELLS))

    def change(sample: np.ndarray, chance: random.Random) -> np.ndarray:
        found = sample.copy()
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(chance.choice((60, len(found))))
            found[at] = chance.choice((-1, 1, 2**33, 2**62, -(2**63)))
        return found

    def take(numbers: np.ndarray) -> None:
        found = Totals.of_sum(numbers, cells=len(CELLS))
        auroc, off = found.auroc
        assert found.good.min() >= 0 and found.found.count <= found.found.of
        assert not 0 < off < 0 and (auroc != auroc or 0 <= auroc <= 1)
        json.dumps(found.told())

    return [honest], change, take


def roster_door(tmp: Path) -> tuple[list[bytes], Callable, Callable]:
    make_authority(tmp / "pki")
    make_site(tmp / "pki", "north")
    keys = make_roster(tmp / "pki").roster.keys
    path = tmp / "pki" / "sites" / "north" / "roster.json"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        assert read_roster(path).roster.keys == keys, "a changed roster was believed"

    return [path.read_bytes()], mutated, take


SECURE: dict[str, Callable[[Path], tuple]] = {
    "secure question": lambda tmp: (questions(), mutated_packet, asked),
    "secure answer": lambda tmp: (replies(), mutated_packet, answered),
    "kept half of a sum": lambda tmp: kept_door(),
    "kept numbers of a sum": numbers_door,
    "figures that add up": lambda tmp: totals_door(),
    "roster": roster_door,
}
