"""The ledger on damaged files, torn lines and full disks: no trust, no release."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import pytest

from fedpatchcore.errors import PrivacyError
from fedpatchcore.files import to_bytes
from fedpatchcore.privacy.journal import head_path
from fedpatchcore.privacy.ledger import Ledger
from tests.support.ledgers import DELTA, key_of, never, put, run_python, told_by


def three(ledger: Ledger) -> list[bytes]:
    for at in range(3):
        put(ledger, at)
    return ledger.path.read_bytes().splitlines(keepends=True)


def _swap(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda x: [x[0].replace(b'"north"', b'"south"'), *x[1:]], 1),
        (lambda x: [*x[:2], x[2].replace(b'"i1"', b'"i7"'), *x[3:]], 3),
        (lambda x: [x[0], *x[2:]], 2),
        (lambda x: x[1:], 1),
        (_swap, 2),
        (lambda x: [x[0], x[1][:40], *x[2:]], 2),
        (lambda x: [x[0], b"\0" * 90 + b"\n", *x[2:]], 2),
        (lambda x: [x[0], b"\n", *x[1:]], 2),
        (lambda x: [*x, x[-1]], 7),
        (lambda x: [*x, b"{}\n"], 7),
        (lambda x: [*x[:-1], x[-1].replace(b'"sequence":6', b'"sequence":5')], 6),
        (lambda x: [*x[:2], x[2].replace(b'"multiplier"', b'"Multiplier"'), *x[3:]], 3),
    ],
)
def test_a_damaged_ledger_releases_nothing(
    ledger: Ledger, damage: Callable[[list[bytes]], list[bytes]], line: int
) -> None:
    content = b"".join(damage(three(ledger)))
    ledger.path.write_bytes(content)
    for refused in (
        ledger.charges,
        lambda: ledger.spent(DELTA),
        lambda: put(ledger, 9, draw=never),
    ):
        with pytest.raises(PrivacyError, match=f"line {line}:") as told:
            refused()
        assert str(ledger.path) in str(told.value)
    assert ledger.path.read_bytes() == content


@pytest.mark.parametrize("lost", [1, 2, 3, 6])
def test_a_ledger_cut_short_is_known_by_its_head(ledger: Ledger, lost: int) -> None:
    lines = three(ledger)
    ledger.path.write_bytes(b"".join(lines[:-lost]))
    for refused in (lambda: ledger.spent(DELTA), lambda: put(ledger, 9, draw=never)):
        with pytest.raises(PrivacyError, match=f"line {7 - lost}: its head counts 6 lines"):
            refused()


@pytest.mark.parametrize("torn", [b'{"sequence":7,"ti', b"\0" * 50, b"\xff", b"\0"])
def test_a_torn_tail_is_cut_off_by_the_next_line(ledger: Ledger, torn: bytes) -> None:
    whole = b"".join(three(ledger))
    ledger.path.write_bytes(whole + torn)
    assert len(ledger.charges()) == 3
    assert ledger.path.read_bytes() == whole + torn
    put(ledger, "next")
    assert ledger.path.read_bytes().startswith(whole + b'{"sequence":7,')
    assert torn not in ledger.path.read_bytes() or torn.startswith(b'{"sequence":7,"ti')
    assert [charge.sequence for charge in ledger.charges()] == [1, 3, 5, 7]


NOTE = {"run": "r", "site": "s", "section": "t", "images": ["i1"], "label": "none"}


def test_every_way_to_die_while_the_last_line_is_written_is_survived(ledger: Ledger) -> None:
    """The head follows the line: until then nothing was drawn, and no image left."""
    put(ledger, "a")
    before, head = ledger.path.read_bytes(), head_path(ledger.path).read_bytes()
    ledger.note_unprotected(**NOTE)
    whole, after = ledger.path.read_bytes(), head_path(ledger.path).read_bytes()
    assert after != head
    for end in range(len(before), len(whole) + 1):
        ledger.path.write_bytes(whole[:end])
        head_path(ledger.path).write_bytes(head)
        kept = end >= len(whole) - 1  # a line whole but for its line break was meant
        assert (ledger.spent(DELTA) == math.inf) == kept
        ledger.note_unprotected(**{**NOTE, "run": "r2"})
        assert len(ledger.charges()) == 2 + kept
        assert ledger.path.read_bytes().endswith(b"\n")


def test_a_line_with_its_line_break_is_never_torn(ledger: Ledger) -> None:
    whole = b"".join(three(ledger))
    for more in (b'{"sequence":7,\0\0"x"}\n', b"\n", b"\0\n"):
        ledger.path.write_bytes(whole + more)
        with pytest.raises(PrivacyError, match="line 7:"):
            ledger.spent(DELTA)


def test_a_damaged_payload_is_refused_by_name(ledger: Ledger) -> None:
    put(ledger, "a")
    path = ledger.releases / f"{key_of('a')}.safetensors"
    sound = path.read_bytes()
    for damaged in (sound[:-1], sound[:-1] + b"\7", b"", to_bytes({"x": np.ones(3)}, {"key": "b"})):
        path.write_bytes(damaged)
        with pytest.raises(PrivacyError, match=path.name):
            put(ledger, "a", draw=never)
    path.write_bytes(to_bytes({"sums": np.ones(3)}, {"key": key_of("a")}))
    with pytest.raises(PrivacyError, match="not the one that was released"):
        put(ledger, "a", draw=never)


def test_a_payload_that_was_delivered_and_is_gone_is_not_drawn_anew(ledger: Ledger) -> None:
    """Two draws under one charge would halve the noise."""
    put(ledger, "a")
    (ledger.releases / f"{key_of('a')}.safetensors").unlink()
    with pytest.raises(PrivacyError, match="is gone"):
        put(ledger, "a", draw=never)
    put(ledger, "b")


def test_only_the_owner_may_look(ledger: Ledger) -> None:
    before = os.umask(0)
    try:
        ledger.root.mkdir(parents=True)
        put(ledger, "a")
    finally:
        os.umask(before)
    for folder in (ledger.root, ledger.releases):
        assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in ledger.root.rglob("*") if path.is_file()]
    assert len(files) == 4  # ledger, head, lock, payload
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_folder_that_cannot_hold_releases_is_refused_before_the_charge(ledger: Ledger) -> None:
    ledger.root.mkdir(parents=True)
    ledger.releases.write_text("a file")
    with pytest.raises(PrivacyError, match="nothing was released"):
        put(ledger, "a", draw=never)
    assert not ledger.path.exists()
    with pytest.raises(PrivacyError, match=str(ledger.root)):
        Ledger(ledger.releases / "below").note_unprotected(
            run="r", site="s", section="t", images=["i"], label="none"
        )


def test_a_disk_that_refuses_the_charge_draws_nothing(ledger: Ledger) -> None:
    ledger.path.mkdir(parents=True)
    with pytest.raises(PrivacyError, match="cannot be read or written"):
        put(ledger, "a", draw=never)


def test_a_full_disk_returns_nothing(ledger: Ledger) -> None:
    """Files may not grow beyond a limit: first the charge does not fit, then the payload."""
    code = """
        import resource, signal
        import numpy as np
        from fedpatchcore.errors import PrivacyError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        drawn = []
        def draw():
            drawn.append(1)
            return {'x': np.zeros(100_000)}
        for limit in (5_000, 100_000, 10_000_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                put(ledger, 'full', [f'{at:064}' for at in range(200)], draw=draw)
                told = 'released'
            except PrivacyError as error:
                told = str(error).split('; ')[0].split(': ')[-1]
            left = len(list(ledger.releases.iterdir()))
            print(told, len(drawn), len(ledger.charges()), left, sep=', ')
    """
    put(ledger, "a")
    assert told_by(run_python(code, ledger.root)) == [
        "nothing was released, 0, 1, 1",
        "nothing was released, 1, 2, 1",
        "released, 2, 2, 2",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(ledger: Ledger) -> None:
    put(ledger, "a")
    ledger.path.chmod(0o400)
    with pytest.raises(PrivacyError, match=str(ledger.root)):
        put(ledger, "b", draw=never)
