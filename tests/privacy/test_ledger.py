"""The ledger charges before it draws, never draws twice, and refuses what it cannot trust."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedpatchcore.errors import PrivacyError
from fedpatchcore.files import to_bytes
from fedpatchcore.privacy.accounting import composed_epsilon, gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.ledger import Ledger, Request
from tests.support.places import ROOT

DELTA = 1e-5
ONE = gaussian_sigma(1, DELTA)


def key_of(name: object) -> str:
    return hashlib.sha256(repr(name).encode()).hexdigest()


def request(name: object = "a", images: Iterable[str] = ("i1", "i2"), **changes) -> Request:
    multiplier = changes.get("multiplier", ONE)
    base = {
        "key": key_of(name),
        "run": "run-1",
        "site": "north",
        "section": "plate",
        "mechanism": "cells",
        "epsilon": gaussian_epsilon(multiplier, DELTA),
        "delta": DELTA,
        "multiplier": multiplier,
        "images": images,
        "label": "one image is protected",
    }
    return Request(**{**base, **changes})


class Draws:
    """A mechanism that gives something else each time it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.count += 1
        return {"sums": np.arange(6).reshape(2, 3) + self.count}


def never() -> dict[str, np.ndarray]:
    raise AssertionError("drawn")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "site" / "ledger")


def put(ledger: Ledger, name: object, images=("i1", "i2"), *, budget=100.0, draw=None, **changes):
    return ledger.release(
        request(name, images, **changes), draw or Draws(), budget_epsilon=budget, delta=DELTA
    )


def test_a_release_is_charged_kept_and_returned(ledger: Ledger) -> None:
    released = put(ledger, "a", ["i2", "i1", "i2"])
    assert not released.again
    assert released.spent == pytest.approx(1) and released.spent <= 1
    np.testing.assert_array_equal(released.arrays["sums"], [[1, 2, 3], [4, 5, 6]])
    (charge,) = ledger.charges()
    assert charge == released.charge
    assert (charge.sequence, charge.id, charge.site) == (1, key_of("a"), "north")
    assert charge.images == ("i1", "i2")
    assert charge.previous == "0" * 64
    assert charge.time.endswith("+00:00")
    with pytest.raises(ValidationError):
        charge.epsilon = 0.0


def test_the_charge_is_on_disk_before_anything_is_drawn(ledger: Ledger) -> None:
    seen = []

    def draw() -> dict[str, np.ndarray]:
        seen.extend(json.loads(line)["id"] for line in ledger.path.read_text().splitlines())
        return {"x": np.zeros(1)}

    put(ledger, "a", draw=draw)
    assert seen == [key_of("a")]


def test_a_retry_returns_the_same_and_costs_nothing(ledger: Ledger) -> None:
    first = put(ledger, "a", budget=1.0)
    before = ledger.path.read_bytes()
    second = put(ledger, "a", budget=1.0, draw=never, run="run-2")
    assert second.again and second.charge == first.charge and second.spent == first.spent
    assert second.arrays.keys() == first.arrays.keys()
    np.testing.assert_array_equal(second.arrays["sums"], first.arrays["sums"])
    assert ledger.path.read_bytes() == before


def test_a_retry_after_images_changed_still_returns_what_was_drawn(ledger: Ledger) -> None:
    """Else the answer to a retry would tell that they changed."""
    first = put(ledger, "a")
    again = ledger.release(request("a", images=("i1",)), never, budget_epsilon=100, delta=DELTA)
    assert again.again and again.charge == first.charge
    np.testing.assert_array_equal(again.arrays["sums"], first.arrays["sums"])


@pytest.mark.parametrize("change", [{"multiplier": 9.0}, {"section": "ring"}, {"site": "south"}])
def test_a_key_stands_for_one_release_only(ledger: Ledger, change: dict) -> None:
    put(ledger, "a")
    with pytest.raises(PrivacyError, match="another release"):
        ledger.release(request("a", **change), never, budget_epsilon=100, delta=DELTA)


def test_a_spent_budget_refuses_before_anything_is_drawn(ledger: Ledger) -> None:
    put(ledger, "a", budget=1.4)
    before = ledger.path.read_bytes()
    with pytest.raises(PrivacyError) as refused:
        put(ledger, "b", ["i2", "i9"], budget=1.4, draw=never)
    assert ledger.path.read_bytes() == before
    told = str(refused.value)
    for part in ("north", "plate", "ε=1 is spent", "1 is asked", "of 1.4", "dp-budget-epsilon"):
        assert part in told
    assert "\n" not in told and "i2" not in told
    put(ledger, "c", ["i3"], budget=1.4)
    assert put(ledger, "a", budget=0.1, draw=never).again  # what was paid for stays paid for


def test_reused_images_compose_and_disjoint_ones_do_not(ledger: Ledger) -> None:
    assert put(ledger, 1, ["a", "b"], multiplier=3.0).spent == pytest.approx(
        composed_epsilon([3], DELTA)
    )
    assert put(ledger, 2, ["c", "d"], multiplier=3.0).spent == pytest.approx(
        composed_epsilon([3], DELTA)
    )
    both = put(ledger, 3, ["b", "c", "e"], multiplier=2.0)
    assert both.spent == pytest.approx(composed_epsilon([3, 2], DELTA), rel=1e-9)
    assert ledger.spent(DELTA) == both.spent
    assert ledger.spent(DELTA, ["a", "d"]) == pytest.approx(composed_epsilon([3], DELTA))
    assert ledger.spent(DELTA, ["e"]) == pytest.approx(composed_epsilon([2], DELTA))
    assert ledger.spent(DELTA, ["unknown"]) == ledger.spent(DELTA, []) == 0


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.frozensets(st.sampled_from("abcdef"), min_size=1), st.sampled_from([1.5, 3.0, 8.0])
        ),
        max_size=8,
    )
)
def test_spent_is_the_worst_image_and_never_above_the_budget(
    releases: list[tuple[frozenset[str], float]],
) -> None:
    budget = 4.0
    history: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for at, (images, multiplier) in enumerate(releases):
            ledger = Ledger(Path(folder))
            worst = max(composed_epsilon([*history[i], multiplier], DELTA) for i in images)
            if worst > budget:
                with pytest.raises(PrivacyError, match="budget"):
                    put(ledger, at, images, budget=budget, multiplier=multiplier, draw=never)
            else:
                done = put(ledger, at, images, budget=budget, multiplier=multiplier)
                assert done.spent == pytest.approx(worst, rel=1e-9)
                for image in images:
                    history[image].append(multiplier)
            expected = max((composed_epsilon(h, DELTA) for h in history.values()), default=0)
            assert Ledger(Path(folder)).spent(DELTA) == pytest.approx(expected, rel=1e-9)
            assert expected <= budget


def test_unprotected_images_have_no_budget_left(ledger: Ledger) -> None:
    note = {"run": "r", "site": "north", "section": "plate", "label": "nothing is protected"}
    ledger.note_unprotected(images=["i1"], **note)
    ledger.note_unprotected(images=["i1", "i1"], **note)
    (charge,) = ledger.charges()
    assert (charge.mechanism, charge.multiplier, charge.epsilon) == ("none", 0, math.inf)
    assert ledger.spent(DELTA) == math.inf
    with pytest.raises(PrivacyError, match="ε=inf is spent"):
        put(ledger, "a", ["i1", "i2"], budget=1000, draw=never)
    put(ledger, "b", ["i2"], budget=1)
    ledger.note_unprotected(images=["i1"], **{**note, "run": "r2"})
    assert [c.mechanism for c in ledger.charges()] == ["none", "cells", "none"]
    summary = ledger.summary(DELTA, 8)
    assert (summary["spent"], summary["left"]) == (math.inf, 0)
    assert summary["protected"] == "nothing is protected"


def test_the_summary_tells_no_image_and_no_count(ledger: Ledger) -> None:
    empty = ledger.summary(DELTA, 4)
    assert (empty["spent"], empty["left"], empty["begun"], empty["protected"]) == (0, 4, None, "")
    assert not ledger.root.exists()
    put(ledger, "a", [f"image-{at}" for at in range(77)])
    put(ledger, "b", ["image-3"], mechanism="per-vector", label="one row is protected")
    summary = ledger.summary(DELTA, 4)
    assert summary["spent"] == pytest.approx(composed_epsilon([ONE, ONE], DELTA))
    assert summary["left"] == pytest.approx(4 - summary["spent"])
    assert (summary["releases"], summary["unprotected"]) == (2, 0)
    assert summary["protected"] == "one row is protected"
    assert summary["begun"] == ledger.charges()[0].time
    assert "image-" not in str(summary) and "77" not in str(summary)


PRELUDE = """
    import os, sys
    from pathlib import Path
    from tests.privacy.test_ledger import DELTA, Draws, Ledger, put, request
    ledger = Ledger(Path(sys.argv[1]))
"""


def run_python(*parts: object) -> subprocess.Popen[str]:
    """Pieces of code, then the ledger's folder and further arguments."""
    pieces = [str(part) for part in parts]
    codes = [piece for piece in pieces if piece.startswith("\n")]
    text = "".join(textwrap.dedent(code) for code in [PRELUDE, *codes])
    return subprocess.Popen(
        [sys.executable, "-c", text, *pieces[len(codes) :]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_process_that_dies_while_it_draws_is_covered_by_its_charge(ledger: Ledger) -> None:
    died = run_python("\nput(ledger, 'a', draw=lambda: os._exit(9))", ledger.root)
    died.communicate(timeout=120)
    assert died.returncode == 9
    assert len(ledger.charges()) == 1 and not list(ledger.releases.iterdir())
    draws = Draws()
    released = put(ledger, "a", budget=1.0, draw=draws)
    assert (released.again, draws.count) == (False, 1)
    assert len(ledger.charges()) == 1 and len(list(ledger.releases.iterdir())) == 1
    assert put(ledger, "a", draw=never).again


def test_a_process_that_dies_while_it_writes_the_payload_leaves_no_trace(ledger: Ledger) -> None:
    code = """
        class Dying(type(Path())):
            def replace(self, target):
                os._exit(9)
        ledger.releases = Dying(ledger.releases)
        put(ledger, 'a')
    """
    died = run_python(code, ledger.root)
    died.communicate(timeout=120)
    assert died.returncode == 9
    assert [path.suffix for path in ledger.releases.iterdir()] == [".part"]
    assert not put(ledger, "a").again
    assert [path.suffix for path in ledger.releases.iterdir()] == [".safetensors"]
    assert len(ledger.charges()) == 1


def test_a_process_that_dies_before_the_delivery_is_noted_returns_the_same(ledger: Ledger) -> None:
    first = put(ledger, "a")
    complete = ledger.path.read_bytes()
    ledger.path.write_bytes(complete.splitlines(keepends=True)[0])
    second = put(ledger, "a", draw=never)
    assert second.again
    np.testing.assert_array_equal(second.arrays["sums"], first.arrays["sums"])
    assert len(ledger.path.read_bytes().splitlines()) == 2


def test_a_draw_that_fails_stays_charged_and_may_be_tried_again(ledger: Ledger) -> None:
    def broken() -> dict[str, np.ndarray]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        put(ledger, "a", draw=broken)
    assert ledger.spent(DELTA) == pytest.approx(gaussian_epsilon(ONE, DELTA))
    assert not put(ledger, "a", budget=1).again
    assert len(ledger.charges()) == 1


def told_by(process: subprocess.Popen[str]) -> list[str]:
    lines = process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 0
    return lines


TOGETHER = """
    import numpy as np
    def together(count, work):
        gate, opens = os.pipe()
        children = []
        for at in range(count):
            children.append(os.fork())
            if not children[-1]:
                os.close(opens)
                os.read(gate, 1)  # returns for all at once when the last writer closes
                os.write(1, f"{work(at)}\\n".encode())
                os._exit(0)
        os.close(opens)
        sys.exit(max(os.waitpid(child, 0)[1] for child in children))
"""


def test_of_many_processes_with_one_key_only_one_draws(ledger: Ledger) -> None:
    code = """
        def work(at):
            done = put(ledger, 'a', draw=lambda: {'who': np.array([os.getpid()])}, budget=1.0)
            return f"{done.again:d} {done.arrays['who'][0]}"
        together(8, work)
    """
    told = [line.split() for line in told_by(run_python(TOGETHER, code, ledger.root))]
    assert sorted(again for again, _ in told) == ["0"] + ["1"] * 7
    assert len({who for _, who in told}) == 1
    assert len(ledger.charges()) == 1


def test_of_many_processes_only_as_many_succeed_as_the_budget_bears(ledger: Ledger) -> None:
    code = """
        from fedpatchcore.errors import PrivacyError
        def work(at):
            try:
                put(ledger, at, ['x', f'{at}'], budget=float(sys.argv[2]))
                return 'done'
            except PrivacyError:
                return 'refused'
        together(8, work)
    """
    budget = composed_epsilon([ONE] * 3, DELTA)
    told = told_by(run_python(TOGETHER, code, ledger.root, budget))
    assert sorted(told) == ["done"] * 3 + ["refused"] * 5
    assert len(ledger.charges()) == 3
    assert ledger.spent(DELTA) == pytest.approx(budget)


def three(ledger: Ledger) -> list[bytes]:
    for at in range(3):
        put(ledger, at)
    return ledger.path.read_bytes().splitlines(keepends=True)


def _swap(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda x: [x[0].replace(b'"north"', b'"south"'), *x[1:]], 2),
        (lambda x: [*x[:2], x[2].replace(b'"i1"', b'"i7"'), *x[3:]], 4),
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
def test_a_ledger_cut_short_is_known_by_its_payloads(ledger: Ledger, lost: int) -> None:
    lines = three(ledger)
    ledger.path.write_bytes(b"".join(lines[:-lost]))
    if lost == 1:  # only the note of a delivery
        assert put(ledger, 2, draw=never).again
        return
    for refused in (lambda: ledger.spent(DELTA), lambda: put(ledger, 9, draw=never)):
        with pytest.raises(PrivacyError, match="lost lines"):
            refused()


@pytest.mark.parametrize(
    "torn", [b'{"sequence":7,"ti', b"\0" * 50, b'{"sequence":7,\0\0"x"}\n', b"\xff"]
)
def test_a_torn_tail_is_cut_off_by_the_next_line(ledger: Ledger, torn: bytes) -> None:
    whole = b"".join(three(ledger))
    ledger.path.write_bytes(whole + torn)
    assert len(ledger.charges()) == 3
    assert ledger.path.read_bytes() == whole + torn
    put(ledger, "next")
    assert ledger.path.read_bytes().startswith(whole + b'{"sequence":7,')
    assert torn not in ledger.path.read_bytes() or torn.startswith(b'{"sequence":7,"ti')
    assert [charge.sequence for charge in ledger.charges()] == [1, 3, 5, 7]


def test_every_way_to_tear_the_last_line_is_survived(ledger: Ledger) -> None:
    put(ledger, "a")
    start = ledger.path.stat().st_size
    note = {"run": "r", "site": "s", "section": "t", "images": ["i1"], "label": "none"}
    ledger.note_unprotected(**note)
    whole = ledger.path.read_bytes()
    for end in range(start, len(whole) + 1):
        ledger.path.write_bytes(whole[:end])
        kept = end >= len(whole) - 1  # a line whole but for its line break was meant
        assert (ledger.spent(DELTA) == math.inf) == kept
        ledger.note_unprotected(**{**note, "run": "r2"})
        assert len(ledger.charges()) == 2 + kept
        assert ledger.path.read_bytes().endswith(b"\n")


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
    assert len(files) == 3
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


def test_a_hundred_thousand_images_are_quick(ledger: Ledger) -> None:
    images = [hashlib.sha256(str(at).encode()).hexdigest() for at in range(100_000)]
    start = time.process_time()
    for at in range(3):
        put(ledger, at, images[at * 10_000 :])
    assert ledger.spent(DELTA) == pytest.approx(composed_epsilon([ONE] * 3, DELTA))
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "change",
    [
        {"key": "../../etc/passwd"},
        {"key": ""},
        {"images": ()},
        {"images": ("",)},
        {"multiplier": -1.0, "epsilon": 1.0},
        {"multiplier": math.inf, "epsilon": 1.0},
        {"mechanism": "magic"},
        {"mechanism": "none"},
        {"epsilon": math.nan},
        {"delta": 1.0},
    ],
)
def test_a_request_that_cannot_be_accounted_for_is_refused(change: dict) -> None:
    with pytest.raises(PrivacyError):
        request(**change)


@pytest.mark.parametrize(("budget", "delta"), [(0, DELTA), (math.nan, DELTA), (1, 0), (1, 1)])
def test_a_budget_that_means_nothing_is_refused(
    ledger: Ledger, budget: float, delta: float
) -> None:
    with pytest.raises(PrivacyError):
        ledger.release(request(), never, budget_epsilon=budget, delta=delta)
    assert not ledger.charges()
