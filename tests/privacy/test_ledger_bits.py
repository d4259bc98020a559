"""Every single bit of a ledger, every length it can be cut to: none passes, none lowers ε."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.journal import Tail, entries, head_path
from fedpatchcore.privacy.ledger import Ledger
from tests.support.ledgers import DELTA, never, put

NOTE = {"run": "r", "site": "s", "section": "t", "images": ["i1"], "label": "none"}


@pytest.fixture(params=["unprotected last", "a release last"])
def used(ledger: Ledger, request: pytest.FixtureRequest) -> Ledger:
    if request.param == "unprotected last":
        put(ledger, "a")
        ledger.note_unprotected(**NOTE)
    else:
        ledger.note_unprotected(**NOTE)
        put(ledger, "a", ["i2"])
    return ledger


def passes(ledger: Ledger) -> bool:
    """Whether the ledger is believed; then nothing that it knew may be forgotten."""
    try:
        assert ledger.spent(DELTA) == math.inf
    except PrivacyError as error:
        assert "restore" in str(error) and "\n" not in str(error)
        return False
    return True


def flips(path: Path, first: int, every: bool) -> list[tuple[int, int]]:
    """Of each byte all bits, or one."""
    places = range(first, path.stat().st_size)
    return [(at, bit) for at in places for bit in (range(8) if every else [at % 8])]


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("which", ["ledger", "head"])
def test_no_flipped_bit_passes(used: Ledger, which: str, every: bool) -> None:
    path = used.path if which == "ledger" else head_path(used.path)
    whole = path.read_bytes()
    assert passes(used)
    last = whole[:-1].rfind(b"\n") + 1
    alone = which == "ledger" and used.charges()[-1].mechanism != "none"  # the rest is the same
    for at, bit in flips(path, last if alone else 0, every):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        with pytest.raises(PrivacyError):  # as every method of a ledger reads it
            list(entries(used.path, Tail()))
    path.write_bytes(whole)
    assert passes(used)


@pytest.mark.parametrize("which", ["ledger", "head"])
def test_no_shorter_file_passes(used: Ledger, which: str) -> None:
    """But for the very last line break, without which the line is still whole."""
    path = used.path if which == "ledger" else head_path(used.path)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert passes(used) == (which == "ledger" and end == len(whole) - 1), end
    for gone in (used.path, head_path(used.path)):
        content = gone.read_bytes()
        gone.unlink()
        path.write_bytes(whole) if gone != path else None
        assert not passes(used)
        assert used.in_use
        gone.write_bytes(whole if gone == path else content)
    assert passes(used)


def test_a_missing_line_break_is_mended_by_the_next_line(used: Ledger) -> None:
    used.path.write_bytes(used.path.read_bytes()[:-1])
    put(used, "next", ["i3"])
    assert used.path.read_bytes().count(b"\n") == len(used.charges()) * 2 - 1
    assert passes(used)


def before_heads(ledger: Ledger) -> None:
    """As versions before 0.4 wrote it."""
    lines = ledger.path.read_bytes().splitlines()
    ledger.path.write_bytes(b"".join(line[:-77] + b"}\n" for line in lines))
    head_path(ledger.path).unlink()


def test_a_ledger_of_an_earlier_version_is_read_and_gets_a_head(used: Ledger) -> None:
    count = len(used.charges())
    before_heads(used)
    assert passes(used) and len(used.charges()) == count
    old = used.path.read_bytes()
    put(used, "next", ["i3"])
    assert used.path.read_bytes().startswith(old)
    assert len(used.charges()) == count + 1 and passes(used)
    whole = used.path.read_bytes()
    for at in range(len(old) - 400, len(old) + 80):  # the last old line, the first new one
        damaged = bytearray(whole)
        damaged[at] ^= 1
        used.path.write_bytes(damaged)
        assert not passes(used), at
    head_path(used.path).unlink()
    used.path.write_bytes(whole)
    assert not passes(used)


def test_the_head_of_another_ledger_does_not_fit(used: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other")
    for at in range(3):
        put(other, at)
    head_path(used.path).write_bytes(head_path(other.path).read_bytes())
    assert not passes(used)
    other.path.write_bytes(used.path.read_bytes())
    with pytest.raises(PrivacyError):
        put(other, 9, draw=never)
