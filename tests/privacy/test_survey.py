"""A first round of cells that finds where patches lie: its share, what is read, what follows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, CoresetError, PrivacyError
from fedpatchcore.privacy.accounting import composed_epsilon, gaussian_sigma
from fedpatchcore.privacy.cells import MASS_WEIGHT, CellSums
from fedpatchcore.privacy.codebook import ANY
from fedpatchcore.privacy.round_noise import round_sigma
from fedpatchcore.privacy.shares import round_share, surveys
from fedpatchcore.privacy.statement import privacy_report, statement
from fedpatchcore.privacy.survey import WIDER, moved, survey_of
from fedpatchcore.server.private_rounds import PrivateRounds
from fedpatchcore.wire.codebooks import pack_codebooks, unpack_codebooks
from fedpatchcore.wire.packet import Packet
from tests.support.codebooks import BOOK, D, images, public
from tests.support.releases import reply_of

TWO = {"dp": "cells", "dp_epsilon": 8.0, "dp_budget_epsilon": 8.0, "num_rounds": 2}


def patches(count: int = 40, seed: int = 1) -> list[np.ndarray]:
    """Images far from the public ones, outside the slice too."""
    rng = np.random.default_rng(seed)
    away = np.float32([0.2, -0.1, 0.3, 0.4, -0.3])
    return [(rng.normal(size=(9, D)) * 0.1 + away).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("rounds", [2, 3, 7])
def test_rounds_of_unlike_shares_cost_what_was_asked(rounds: int, share: float) -> None:
    config = RunConfig(**{**TWO, "num_rounds": rounds}, dp_first_share=share)
    shares = [round_share(config, rounds, at) for at in range(1, rounds + 1)]
    assert sum(shares) == pytest.approx(1, rel=1e-12) and shares[0] == share
    assert len({round(one, 12) for one in shares[1:]}) == 1
    noise = [round_sigma(config, rounds, at) for at in range(1, rounds + 1)]
    assert noise[0] == pytest.approx(gaussian_sigma(8.0, 1e-5) / share**0.5)
    assert composed_epsilon(noise, 1e-5) == pytest.approx(8.0, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(x=images())
def test_no_image_moves_a_survey_by_more_than_one(x: np.ndarray) -> None:
    made = CellSums(survey_of(BOOK), 1.0)
    assert made.shape == (1, 1 + D)
    assert np.linalg.norm(made.contribution(x) * made.step) <= 1


def test_a_survey_says_the_mean_of_clipped_residuals_as_worked_out_apart() -> None:
    """Golden: without noise to speak of, the centre lies where NumPy alone puts it."""
    sigma, all_images = 1e-6, patches()
    made = CellSums(survey_of(BOOK), sigma)
    book = moved(BOOK, made, made.release(made.total(all_images)), sigma=sigma)
    residuals = [one.astype(np.float64) - BOOK.centre for one in all_images]
    means = []
    for one in residuals:
        lengths = np.linalg.norm(one, axis=1, keepdims=True)
        means.append((one * np.minimum(1, WIDER * BOOK.radius / lengths)).mean(0))
    mean, basis = np.mean(means, 0), BOOK.basis.astype(np.float64)
    expected = BOOK.centre + mean - basis @ (basis.T @ mean)
    assert np.abs(book.centre - expected).max() < 1e-5
    assert np.linalg.norm(expected - BOOK.centre) > 0.1
    assert np.array_equal(book.cells, BOOK.cells) and np.array_equal(book.basis, BOOK.basis)
    x = np.concatenate(all_images)
    assert np.abs(book.project(x) - BOOK.project(x)).max() < 1e-5  # nothing moves in the slice
    outside = x - book.lift(book.project(x))
    assert (
        np.linalg.norm(outside.mean(0))
        < 0.05
        < np.linalg.norm((x - BOOK.lift(BOOK.project(x))).mean(0))
    )


def test_noise_that_drowns_the_mean_moves_nothing_far() -> None:
    """What noise explains of the shift is taken from it; none of it leads out of the radius."""
    made = CellSums(survey_of(BOOK), 50.0)
    for _ in range(20):
        book = moved(BOOK, made, made.release(made.total(patches(3))), sigma=50.0)
        assert np.linalg.norm(book.centre - BOOK.centre) <= WIDER * BOOK.radius * 1.0001


def total(config: RunConfig, rounds: PrivateRounds, seed: int) -> np.ndarray:
    """An opened total, by noise that a seed decides."""
    drawn = np.random.default_rng(seed)
    made = rounds.over(rounds.codebook("plate"))
    return made.release(made.total(patches()), randbytes=lambda n: drawn.bytes(n))


def test_the_same_noise_gives_the_same_codebooks_and_bank() -> None:
    config = RunConfig(**TWO, secure_sums=True)
    found = []
    for _ in range(2):
        rounds = PrivateRounds(config, BOOK)
        assert rounds.codebook("plate").digest == survey_of(BOOK).digest
        for number in (1, 2):
            assert rounds.number == number
            values = total(config, rounds, number)
            rounds.accept_total({"plate": (values, ["a", "b"])}, lambda sigma: sigma)
            section = rounds.sections()["plate"][0]
            found.append((rounds.codebook("plate").digest, section.features.tobytes()))
            rounds.next_round()
    assert found[:2] == found[2:] and found[0] != found[1]


def test_what_nobody_surveyed_starts_from_the_public_codebook() -> None:
    """A product, and so a site, that joins in the second round."""
    rounds = PrivateRounds(RunConfig(**TWO), BOOK)
    values = total(rounds.config, rounds, 0)
    rounds.accept_total({"plate": (values, ["a"])}, lambda sigma: sigma)
    rounds.next_round()
    assert rounds.codebook("ring").digest == BOOK.digest != rounds.codebook("plate").digest


def test_a_release_with_the_noise_of_another_round_is_refused() -> None:
    config = RunConfig(**TWO, dp_first_share=0.25)
    rounds = PrivateRounds(config, BOOK)
    book = rounds.codebooks[ANY]
    values = np.zeros((1, 1 + D), np.int64)
    with pytest.raises(CoresetError, match="asked was"):
        rounds.accept(reply_of(config, book, "a", values, sigma=round_sigma(config, 2, 2)))
    rounds.accept(reply_of(config, book, "a", values))


def test_codebooks_of_their_own_centres_travel() -> None:
    sigma = 1e-6
    made = CellSums(survey_of(BOOK), sigma)
    plate = moved(BOOK, made, made.release(made.total(patches())), sigma=sigma)
    books = {ANY: BOOK, "plate": plate, "ring": BOOK.with_cells(BOOK.cells * 2, source="x")}
    packet = pack_codebooks(books)
    assert {n for n in packet.arrays if n.startswith("centre/")} == {"centre/plate"}
    again = unpack_codebooks(packet)
    assert {n: b.digest for n, b in again.items()} == {n: b.digest for n, b in books.items()}
    odd = {**packet.arrays, "centre/nobody": BOOK.centre}
    with pytest.raises(PrivacyError, match="codebooks that cannot be read"):
        unpack_codebooks(Packet(odd, texts=packet.texts))
    odd = {**packet.arrays, "centre/plate": BOOK.centre[:-1]}
    with pytest.raises(PrivacyError, match="do not fit each other"):
        unpack_codebooks(Packet(odd, texts=packet.texts))


def test_the_shares_are_stated() -> None:
    told = statement(RunConfig(**TWO), {})
    assert told["shares"] == [0.5, 0.5]
    uneven = statement(RunConfig(**{**TWO, "num_rounds": 3}, dp_first_share=0.1), {})
    assert uneven["shares"] == pytest.approx([0.1, 0.45, 0.45])
    assert (
        "the first round had 0.5 of the budget"
        in (privacy_report(RunConfig(**TWO), {}, simulated=False)["composition"])
    )
    for other in ({"dp_first_share": 0.0}, {"num_rounds": 1}, {"dp": "moments"}):
        assert "shares" not in statement(RunConfig(**{**TWO, **other}), {})


@pytest.mark.parametrize(
    "other", [{"num_rounds": 1}, {"dp_combine": "per-site", "min_sites": 3}, {"dp": "moments"}]
)
def test_where_there_is_no_first_round_of_several_a_share_is_refused(other: dict) -> None:
    table = {key.replace("_", "-"): value for key, value in {**TWO, **other}.items()}
    RunConfig.parse(table, where="run-config")
    with pytest.raises(ConfigError, match=r"dp-first-share=0\.1 .*leave it out"):
        RunConfig.parse({**table, "dp-first-share": 0.1}, where="run-config")


def test_a_share_of_nothing_leaves_rounds_alike() -> None:
    config = RunConfig(**TWO, dp_first_share=0.0)
    assert not surveys(config, 2) and round_share(config, 2, 1) == 0.5
    assert PrivateRounds(config, public()).codebook("plate").digest == public().digest


def test_mass_of_a_survey_is_the_number_of_images() -> None:
    made = CellSums(survey_of(BOOK), 1e-6)
    values = made.total(patches(40)) * made.step
    assert values[0, 0] == pytest.approx(40 * MASS_WEIGHT**0.5, rel=1e-6)
