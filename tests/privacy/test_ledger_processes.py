"""The ledger when processes die at the worst moment, or many ask at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.privacy.accounting import composed_epsilon, gaussian_epsilon
from fedpatchcore.privacy.journal import head_path
from fedpatchcore.privacy.ledger import Ledger
from tests.support.ledgers import DELTA, ONE, Draws, never, put, run_python, told_by


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
    then: list[tuple[Path, bytes]] = []

    def draw() -> dict[str, np.ndarray]:
        files = (ledger.path, head_path(ledger.path))
        then.extend((path, path.read_bytes()) for path in files)
        return Draws()()

    first = put(ledger, "a", draw=draw)
    for path, content in then:
        path.write_bytes(content)
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
