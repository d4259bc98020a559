"""Every method with every optimiser, wire, protection: it works, or is refused in one line."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.learned.registry import OPTIMISERS, UPDATE_WIRES

METHODS = ("patchcore", "feddymem", "feddymem-own", "generator", "student")
MENDS = ("set ", "take ", "leave it out", "needs ")
TRAINS = {name for name in METHODS if name != "patchcore"}


def settings(
    method: str, optimiser: str, wire: str, fraction: float, robust: bool, dp: str, secure: bool
) -> dict[str, object]:
    """The settings of a place in the matrix, with what the optimiser itself cannot do without."""
    name, _, own = method.partition("-")
    told: dict[str, object] = {"method": name, "optimiser": optimiser, "update_wire": wire}
    told |= {"client_fraction": fraction, "min_sites": 5, "robustness_enabled": robust}
    told |= {"generators": "own"} if own else {}
    told |= {"mu": 0.1} if optimiser == "fedprox" else {}
    told |= {"dp": dp, "secure_sums": secure, "dp_epsilon": 1.0} if dp != "off" else {}
    return told | ({"secure_sums": True} if secure else {})


def works(method: str, optimiser: str, wire: str, fraction: float, robust: bool) -> bool:
    """What docs/methods.md says of runs without privacy, written a second time."""
    plain = optimiser == "fedavg" and wire == "float32" and fraction == 1
    if method == "patchcore":
        return plain
    one = OPTIMISERS[optimiser]
    if fraction < 1 and one.asynchronous:
        return False
    if method == "feddymem-own":
        return optimiser in ("fedavg", "fedprox") and wire == "float32"
    if wire == "topk" and optimiser in ("fedmedian", "fedtrimmedavg", "krum"):
        return False
    return one.robust or not robust


MATRIX = list(itertools.product(METHODS, OPTIMISERS, UPDATE_WIRES, (1.0, 0.5), (False, True)))


def test_the_matrix_without_privacy_is_what_the_page_says() -> None:
    """960 places: each is taken or refused as `works` says, and a refusal says what mends it."""
    found = Counter()
    for place in MATRIX:
        refused = ""
        try:
            RunConfig(**settings(*place, dp="off", secure=False))
        except ValueError as error:
            refused = str(error)
        assert bool(refused) != works(*place), (place, refused)
        if refused:
            assert any(mend in refused for mend in MENDS), (place, refused)
            named = (place[0].partition("-")[0], place[1], "own", "client-fraction", "update-wire")
            assert any(name in refused for name in named), (place, refused)
        found[bool(refused)] += 1
    assert found[False] > 150 and found[True] > 500, found


@pytest.mark.parametrize(("dp", "secure"), [("cells", False), ("cells", True)])
def test_privacy_of_a_bank_and_training_are_kept_apart(dp: str, secure: bool) -> None:
    """A mechanism of sums releases no update: with training it is refused wherever it is asked."""
    for method, optimiser in itertools.product(sorted(TRAINS), OPTIMISERS):
        told = settings(method, optimiser, "float32", 1.0, False, dp, secure)
        with pytest.raises(ValueError, match="dp|secure-sums|differential privacy"):
            RunConfig(**told)


@pytest.mark.parametrize("dp", ["off", "client", "sgd"])
def test_updates_add_up_under_masks_where_a_mean_is_all_that_is_needed(dp: str) -> None:
    means = {"fedavg", "fedavgm", "fedprox", "fedadam", "fedyogi"}
    methods = {"off": {"generator", "student"}, "client": {"student"}, "sgd": set()}[dp]
    for method, optimiser, wire in itertools.product(sorted(TRAINS), OPTIMISERS, UPDATE_WIRES):
        told = settings(method, optimiser, wire, 1.0, False, dp, True)
        fits = method in methods and optimiser in means and wire == "float32"
        try:
            RunConfig(**told)
            refused = ""
        except ValueError as error:
            refused = str(error)
        assert bool(refused) != fits, (told, refused)
        if refused:
            assert any(mend in refused for mend in MENDS), (told, refused)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"method": "patchcore", "early_stop": 2}, "early-stop=2 is of training"),
        ({"method": "patchcore", "generators": "own"}, "generators='own' is of method='feddymem'"),
        ({"method": "generator", "generators": "own"}, "generators='own' is of method='feddymem'"),
        ({"generators": "own", "early_stop": 1}, "set early-stop=0"),
        ({"generators": "own", "optimiser": "scaffold"}, "set optimiser to one of fedavg, fedprox"),
        ({"generators": "own", "update_wire": "int8"}, "set update-wire='float32'"),
        ({"aggregation": "simple_concatenate"}, "makes its own bank"),
        ({"optimiser": "krum", "tolerated_sites": 1}, "set min-sites=5"),
        ({"robustness_enabled": True, "min_sites": 3}, "one site can move what is learnt"),
        (
            {
                "robustness_enabled": True,
                "min_sites": 3,
                "optimiser": "fedmedian",
                "density_filter": 0.1,
            },
            "set density-filter=0",
        ),
        ({"optimiser": "fedbuff", "keep_absent_sites": False}, "set keep-absent-sites=true"),
        ({"optimiser": "fedavg", "buffer": 2}, "buffer is of fedbuff"),
        ({"optimiser": "fedbuff", "async_mix": 0.5}, "async-mix is of fedasync"),
        ({"optimiser": "fedavg", "concurrency": 2}, "concurrency is of fedasync, fedbuff"),
        ({"optimiser": "fedavg", "server_momentum": 0.5}, "server-momentum is of fedavgm"),
    ],
)
def test_what_would_do_nothing_is_refused_with_its_mend(told: dict, reason: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=reason):
        RunConfig(**{"method": "feddymem", **told})
