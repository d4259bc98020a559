"""Each attack does what it says, to a contribution of its own."""

from __future__ import annotations

import numpy as np
import pytest

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.errors import ConfigError, CoresetError
from fedpatchcore.robustness.attacks import ATTACKS, malicious_sites
from fedpatchcore.robustness.validation import limits_of, screen
from tests.support.fingerprints import FINGERPRINT

LIMITS = limits_of(FINGERPRINT, max_rows=1000, max_images=1000)


def unit_rows(count: int, seed: int) -> np.ndarray:
    """Rows as of two rectified layers of three channels, each of norm 1."""
    x = np.random.default_rng(seed).random((count, 2, 3)) + 0.05
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    return x.reshape(count, 6).astype(np.float32)


def contribution(site: str = "north", seed: int = 0) -> Contribution:
    parts = {
        "plate": Part(unit_rows(40, seed), 8, 4000, 0.5),
        "ring": Part(unit_rows(20, seed + 1), 4, 2000, 0.4),
    }
    return Contribution(site, FINGERPRINT, parts)


HONEST = contribution()
PEERS = [contribution("south", 10), contribution("west", 20)]
DEFECTS = {"plate": unit_rows(30, 99)}


def attacked(name: str, *, strength: float = 1.0, seed: int = 0) -> Contribution:
    return ATTACKS[name](HONEST, strength=strength, seed=seed, peers=PEERS, defects=DEFECTS)


def refusal(given: Contribution) -> str:
    """Why the door does not open, or an empty string."""
    try:
        given.check()
        for name, part in given.parts.items():
            screen(given.site, name, part.features, LIMITS, images=part.images)
    except CoresetError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_repeatable_and_leave_the_honest_rows_alone(name: str) -> None:
    before = contribution()
    first, again = attacked(name), attacked(name)
    assert first.site == "north" and first.fingerprint == FINGERPRINT
    changed = False
    for section, part in first.parts.items():
        assert part.features.dtype == np.float32
        assert part.features.flags.c_contiguous
        np.testing.assert_array_equal(part.features, again.parts[section].features)
        honest = HONEST.parts[section]
        np.testing.assert_array_equal(honest.features, before.parts[section].features)
        changed |= part.features.shape != honest.features.shape
        changed = changed or not np.array_equal(part.features, honest.features)
        changed |= part.images != honest.images
    assert changed
    assert refusal(HONEST) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("scaling", "norm out of range"),
        ("noise", "norm out of range"),
        ("sign_flip", "negative values"),
        ("nan", "NaN or infinite"),
        ("inf", "NaN or infinite"),
        ("huge_counts", "images, which is not possible"),
    ],
)
def test_what_the_door_stops(name: str, reason: str) -> None:
    assert reason in refusal(attacked(name))


@pytest.mark.parametrize("name", ["smuggling", "duplicates", "mimic"])
def test_what_the_door_cannot_see(name: str) -> None:
    assert refusal(attacked(name)) == ""


def test_a_modest_lie_about_counts_meets_the_cap() -> None:
    lie = attacked("huge_counts", strength=0.3)
    assert lie.parts["plate"].images == int(8 * 10**2.7)
    lie.check()
    assert "the limit is 1,000" in refusal(lie)


def test_scaling_and_sign_flip_are_multiples() -> None:
    rows = HONEST.parts["ring"].features
    np.testing.assert_allclose(attacked("scaling").parts["ring"].features, rows * 10, rtol=1e-6)
    np.testing.assert_allclose(
        attacked("sign_flip", strength=2).parts["ring"].features, rows * -2, rtol=1e-6
    )
    huge = attacked("scaling", strength=1e38)
    assert np.isinf(huge.parts["ring"].features).any()


def test_noise_has_the_spread_it_says_and_differs_between_sites() -> None:
    big = Contribution("north", FINGERPRINT, {"plate": Part(unit_rows(4000, 1), 8, 4000, 0.1)})
    rows = big.parts["plate"].features
    sent = ATTACKS["noise"](big, strength=2, seed=0).parts["plate"].features
    np.testing.assert_allclose((sent - rows).std(0), 2 * rows.std(0), rtol=0.1)
    twin = Contribution("south", FINGERPRINT, big.parts)
    other = ATTACKS["noise"](twin, strength=2, seed=0).parts["plate"].features
    assert np.abs(sent - other).max() > 0.1


def test_smuggled_defects_come_first_and_only_where_there_are_any() -> None:
    sent = attacked("smuggling", strength=0.25)
    rows = sent.parts["plate"].features
    known = {row.tobytes() for row in DEFECTS["plate"]}
    assert [row.tobytes() in known for row in rows] == [True] * 10 + [False] * 30
    np.testing.assert_array_equal(rows[10:], HONEST.parts["plate"].features[:30])
    np.testing.assert_array_equal(sent.parts["ring"].features, HONEST.parts["ring"].features)
    everything = attacked("smuggling").parts["plate"].features  # 30 defects for 40 rows
    assert len(everything) == 40
    assert len({row.tobytes() for row in everything} & known) == 30
    with pytest.raises(ConfigError, match="rows of defects"):
        ATTACKS["smuggling"](HONEST, strength=1, seed=0)


def test_a_flood_is_large_and_poor() -> None:
    part = attacked("duplicates").parts["plate"]
    assert len(part.features) == 400
    assert len(np.unique(part.features, axis=0)) == 8
    few = Contribution("north", FINGERPRINT, {"plate": Part(unit_rows(3, 0), 1, 3, 0.1)})
    flood = ATTACKS["duplicates"](few, strength=0, seed=0)
    assert len(flood.parts["plate"].features) == 3
    flood = ATTACKS["duplicates"](few, strength=5, seed=0)
    flood.check()  # its claimed patches fit its rows
    assert len(flood.parts["plate"].features) == 150


@pytest.mark.parametrize("name", ["nan", "inf"])
def test_a_single_value_is_enough(name: str) -> None:
    for strength, count in ((0, 1), (0.5, 20), (1, 40)):
        rows = attacked(name, strength=strength).parts["plate"].features
        assert (~np.isfinite(rows)).sum() == (~np.isfinite(rows)).any(1).sum() == count


def test_dragged_rows_stay_in_range_and_close_in() -> None:
    sent = attacked("centroid_drag", strength=0.8)
    target = DEFECTS["plate"].mean(0)
    for section, part in sent.parts.items():
        honest = HONEST.parts[section].features
        norms = np.linalg.norm(part.features, axis=1)
        np.testing.assert_allclose(norms, np.linalg.norm(honest, axis=1), rtol=1e-5)
        assert (part.features >= 0).all()
        assert refusal(sent) == ""
    before, after = (
        np.linalg.norm(c.parts["plate"].features - target, axis=1).mean() for c in (HONEST, sent)
    )
    assert after < 0.5 * before


def test_mimics_agree_on_their_victim() -> None:
    second = contribution("east", 30)
    one, two = (ATTACKS["mimic"](c, strength=1, seed=3, peers=PEERS) for c in (HONEST, second))
    np.testing.assert_array_equal(one.parts["plate"].features, two.parts["plate"].features)
    assert (one.site, two.site) == ("north", "east")
    assert any(
        np.array_equal(one.parts["plate"].features, p.parts["plate"].features) for p in PEERS
    )
    assert len(attacked("mimic", strength=0.5).parts["plate"].features) == 20
    with pytest.raises(ConfigError, match="other sites"):
        ATTACKS["mimic"](HONEST, strength=1, seed=0, peers=[HONEST])


def test_malicious_sites_are_a_fixed_share() -> None:
    names = [f"s{i}" for i in range(10)]
    for fraction, count in ((0, 0), (0.04, 0), (0.3, 3), (1, 10)):
        drawn = malicious_sites(names, fraction, 1)
        assert len(drawn) == count and list(drawn) == sorted(drawn) and set(drawn) <= set(names)
        assert drawn == malicious_sites(names[::-1], fraction, 1)
    assert len({malicious_sites(names, 0.3, seed) for seed in range(20)}) > 5
    with pytest.raises(ConfigError, match="fraction"):
        malicious_sites(names, 1.1, 0)
