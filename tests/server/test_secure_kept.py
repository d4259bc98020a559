"""What a site keeps of a sum decides what it answers: at once, again, later, on other terms."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import numpy as np
import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import PrivacyError, SecureSumError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.secure_figures import secure_sums
from fedpatchcore.server.secure_sum import SecureSum
from fedpatchcore.site.keeping import KEPT_SECONDS, Kept
from fedpatchcore.site.secure import secure_reply
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.sums import SumsQuestion, SumsReply, unpack_question
from tests.support.names import NAMES
from tests.support.private import LOUD, charges
from tests.support.secure import with_rosters

TWO = {"secure_sums": True, "min_openers": 2, "colluding_sites": 0}
SECURE = {**LOUD, **TWO, "dp_budget_epsilon": 600.0, "dp_alone_epsilon": 900.0}
Begun = Callable[..., tuple[list[Site], SecureSum]]


@pytest.fixture
def open_all(table, nodes, tmp_path: Path) -> Iterator[Callable[..., list[Site]]]:
    members = with_rosters(nodes, tmp_path / "pki")

    def start(**words: object) -> list[Site]:
        config = RunConfig.parse(table(**{**SECURE, **words}), where="test")
        return [open_site(config, NodeConfig.from_node(node, {})) for node in members.values()]

    return start


@pytest.fixture
def begun(open_all, book_file: Path) -> Begun:
    """Sites, and the sum of a round up to the exchange that is named."""

    def start(exchange: str, number: int = 1, run: str = "run") -> tuple[list[Site], SecureSum]:
        sites = open_all()
        federation = Federation(sites[0].config, codebook=Codebook.load(book_file))
        assert not federation.roll_call({str(at): one.facts() for at, one in enumerate(sites)})
        (talk,) = secure_sums(federation, run, number, "train", NAMES)
        while talk.exchange and talk.exchange != exchange:
            for site in sites:
                talk.take(pack(answer(site, asked(talk, site), number, run)), site.name)
            talk.close()
        return sites, talk

    return start


def asked(talk: SecureSum, site: Site) -> SumsQuestion:
    return unpack_question(talk.question(site.name))


def answer(site: Site, question: SumsQuestion, number: int = 1, run: str = "run") -> SumsReply:
    return secure_reply(site, question, run=run, number=number)


def charged(tmp_path: Path, site: str = "north") -> int:
    return len(charges(tmp_path / "ledgers" / site))


def files(tmp_path: Path, site: str = "north") -> list[Path]:
    return sorted((tmp_path / "ledgers" / site / "sums").glob("*-*.json"))


def test_a_site_signs_one_set_of_survivors_however_close_two_are_asked(begun, monkeypatch) -> None:
    """Two sets, each signed, could each be opened: a server would learn their difference."""
    (north, *_), talk = begun("agree")
    one = asked(talk, north)
    other = replace(one, letter=replace(one.letter, sites=("north", "south")))
    meeting, plain = Barrier(2), Kept.read

    def read(self):
        told = plain(self)
        with suppress(BrokenBarrierError):
            meeting.wait(1)  # both have read what was kept, where both may at once
        return told

    monkeypatch.setattr(Kept, "read", read)

    def said(question: SumsQuestion) -> SumsReply | SecureSumError:
        try:
            return answer(north, question)
        except SecureSumError as error:
            return error

    with ThreadPoolExecutor(2) as both:
        found = list(both.map(said, (one, other)))
    refused = [str(f) for f in found if isinstance(f, SecureSumError)]
    assert len(refused) == 1 and "again and in other words: it is answered once" in refused[0]


def test_a_folder_that_cannot_be_written_answers_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Kept(tmp_path / "file" / "sums", "run", 1)
    with pytest.raises(SecureSumError, match="nothing was sent"), kept.alone():
        raise AssertionError


def test_a_process_that_died_with_its_vector_drawn_sends_that_one(
    begun, tmp_path: Path, monkeypatch
) -> None:
    """Charged and drawn, and nothing left: the same numbers, the same share, charged once.

    Of a section that north does not make a new share is drawn: it hides nothing of north's.
    """
    (north, *_), talk = begun("masked")
    question, plain, drawn = asked(talk, north), Kept.write, []

    def died(self, told):
        drawn.append(np.frombuffer(bytes.fromhex(told["vector"]), np.uint64))
        raise SystemExit

    monkeypatch.setattr(Kept, "write", died)
    with pytest.raises(SystemExit):
        answer(north, question)
    assert charged(tmp_path) == 1
    monkeypatch.setattr(Kept, "write", plain)
    sent = answer(north, question).letter.arrays["values"]
    plate, ring = question.layout
    assert [plate.section, ring.section] == ["plate", "ring"] and charged(tmp_path) == 1
    assert np.array_equal(sent[: plate.size], drawn[0][: plate.size])
    assert not np.array_equal(sent[plate.size :], drawn[0][plate.size :])
    assert np.array_equal(answer(north, question).letter.arrays["values"], sent)


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        ("shares", {"colluding_sites": 1}),
        ("masked", {"min_openers": 3, "min_sites": 3}),
        ("agree", {"dp_epsilon": 30.0}),
    ],
)
def test_other_terms_between_two_exchanges(
    begun, open_all, tmp_path: Path, exchange: str, words: dict
) -> None:
    """Whatever a site was told in the first exchange holds: c, t and the noise are in its keys."""
    (north, *_), talk = begun(exchange)
    changed = open_all(**words)[0]
    before = charged(tmp_path)
    with pytest.raises(SecureSumError, match="round 1 of this run on other terms"):
        answer(changed, asked(talk, north))
    assert charged(tmp_path) == before


def test_a_round_that_is_asked_for_once_more(begun, tmp_path: Path) -> None:
    """While the site knows of it: refused. When that is forgotten: the run's ε is spent."""
    (north, *_), talk = begun("")
    assert talk.half.opened == NAMES and charged(tmp_path) == 1
    _, again = begun("keys")
    with pytest.raises(SecureSumError, match="the sum is over for site 'north'"):
        answer(north, asked(again, north))
    (file,) = files(tmp_path)
    os.utime(file, (time.time() - KEPT_SECONDS - 60,) * 2)
    sites, talk = begun("keys", number=2)  # a site looks at what is old when it keeps something
    answer(sites[0], asked(talk, sites[0]), number=2)
    assert file not in files(tmp_path)
    for name in NAMES:
        for old in files(tmp_path, name):
            old.unlink()
    (north, *_), talk = begun("masked")
    with pytest.raises(PrivacyError, match="north has answered this run: one more release"):
        answer(north, asked(talk, north))
    assert charged(tmp_path) == 1


def test_no_secret_and_no_key_comes_twice(begun, tmp_path: Path) -> None:
    """Over rounds and runs with the same words, the same images and the same sites."""
    seen: dict[str, list[bytes]] = {"root": [], "keys": [], "sealed": []}
    for run, number in (("run", 1), ("run", 2), ("next", 1), ("next", 2)):
        before = set(files(tmp_path))
        sites, talk = begun("keys", number, run)
        for exchange in ("keys", "shares"):
            for site in sites:
                letter = answer(site, asked(talk, site), number, run).letter
                rows = letter.arrays["keys" if exchange == "keys" else "sealed"]
                seen["keys" if exchange == "keys" else "sealed"] += [
                    row.tobytes() for row in rows if row.any()
                ]
                talk.take(pack(answer(site, asked(talk, site), number, run)), site.name)
            talk.close()
        (new,) = set(files(tmp_path)) - before
        seen["root"].append(bytes.fromhex(json.loads(new.read_text())["half"]["root"]))
    assert {name: len(found) for name, found in seen.items()} == {
        "root": 4,
        "keys": 4 * 3,
        "sealed": 4 * 3 * 2,
    }
    assert all(len(set(found)) == len(found) for found in seen.values())
    halves = [row[at : at + 32] for row in seen["keys"] for at in (0, 32)]
    assert len(set(halves)) == len(halves)
