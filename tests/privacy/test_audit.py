"""The audit tells the truth about mechanisms whose privacy is known, and about banks.

Tests that draw real noise assert bounds at confidence 1 − 1e-7, and what must show lies six or
more standard deviations from the limit: each fails less than once in a million runs.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import ConfigError
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.audit.canaries import audit_mechanism, scattered_canary
from fedpatchcore.privacy.audit.findings import claim_of, contradicts
from fedpatchcore.privacy.audit.membership import attack_scores, image_statistics, membership
from fedpatchcore.privacy.audit.reconstruction import reconstruction
from fedpatchcore.privacy.audit.refutation import epsilon_lower_bound
from fedpatchcore.privacy.cells import CellSums, cell_canary
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.moments import MomentSums
from tests.support.products import write_product

DELTA = 1e-5
SURE = 1 - 1e-7


sigma_of = cache(lambda epsilon: gaussian_sigma(epsilon, DELTA))


def gaussian_runs(epsilon: float, runs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sigma = sigma_of(epsilon)
    return 1 + sigma * rng.standard_normal(runs), sigma * rng.standard_normal(runs)


# -- lower bounds on ε ---------------------------------------------------------------


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("epsilon", [0.5, 4.0])
def test_the_bound_holds_as_often_as_it_says(epsilon: float, gaussian: bool) -> None:
    audits = 150
    wrong = sum(
        epsilon_lower_bound(
            *gaussian_runs(epsilon, 1000, seed), delta=DELTA, gaussian=gaussian
        ).epsilon
        > epsilon
        for seed in range(audits)
    )
    assert wrong <= stats.binom.ppf(1 - 1e-6, audits, 0.05)


def test_the_bound_holds_where_it_is_tight() -> None:
    """Randomised response at δ = 0 attains TPR = e^ε FPR: no slack hides an optimistic bound."""
    rng, truth, audits = np.random.default_rng(5), math.exp(1) / (1 + math.exp(1)), 400
    wrong = 0
    for _ in range(audits):
        told = (rng.random(500) < truth).astype(float), (rng.random(500) >= truth).astype(float)
        found = epsilon_lower_bound(*told, delta=0.0)
        wrong += found.epsilon > 1
        assert found.epsilon <= found.ceiling
    assert wrong <= stats.binom.ppf(1 - 1e-6, audits, 0.05)


@pytest.mark.parametrize(("epsilon", "share"), [(1.0, 0.35), (4.0, 0.5), (8.0, 0.45)])
def test_many_runs_come_near_the_truth(epsilon: float, share: float) -> None:
    runs = gaussian_runs(epsilon, 100_000, 1)
    assert share * epsilon < epsilon_lower_bound(*runs, delta=DELTA).epsilon < epsilon
    tight = epsilon_lower_bound(*runs, delta=DELTA, gaussian=True).epsilon
    assert 0.8 * epsilon < tight < epsilon


def test_both_directions_count() -> None:
    """A release that only the image's absence can give: seen from the other side."""
    rng = np.random.default_rng(0)
    gone = (rng.random(4000) < 0.9).astype(float)
    assert epsilon_lower_bound(np.ones(4000), gone, delta=DELTA).epsilon > 3
    assert epsilon_lower_bound(1 - gone, np.zeros(4000), delta=DELTA).epsilon > 3


def test_a_perfect_attack_reaches_the_ceiling_and_a_blind_one_nothing() -> None:
    perfect = epsilon_lower_bound(np.ones(2000), np.zeros(2000), delta=DELTA)
    assert perfect.epsilon == perfect.ceiling
    low = 0.025 ** (1 / 1000)  # Clopper–Pearson for 1,000 of 1,000
    assert perfect.ceiling == pytest.approx(math.log((low - DELTA) / (1 - low)))
    assert epsilon_lower_bound(np.ones(50), np.ones(50), delta=DELTA).epsilon == 0


@pytest.mark.parametrize("scores", [np.ones(1), np.array([0.0, np.nan]), np.ones((2, 2))])
def test_scores_that_say_nothing_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="two runs or more"):
        epsilon_lower_bound(scores, np.zeros(9), delta=DELTA)
    with pytest.raises(ConfigError, match="confidence"):
        epsilon_lower_bound(np.ones(9), np.zeros(9), delta=DELTA, confidence=1.0)


# -- membership and reconstruction ---------------------------------------------------


def test_membership_counts_what_it_says() -> None:
    others = np.arange(2000.0)
    members = np.array([1999.5, 1998.5, 1990.0, 1979.5, 1978.5, 0.0])
    found = membership(members, others)
    strict, loose = found.rates
    assert strict.true_positive == pytest.approx(2 / 6)  # above all but 2 of 2,000
    assert loose.true_positive == pytest.approx(4 / 6)  # above all but 20
    exact = stats.binomtest(4, 6).proportion_ci(0.95, "exact")
    assert (loose.low, loose.high) == pytest.approx((exact.low, exact.high))
    assert found.low < found.auroc < found.high


def test_a_rate_nobody_stands_for_is_not_measured() -> None:
    rng = np.random.default_rng(0)
    strict, loose = membership(rng.random(50), rng.random(400)).rates
    assert math.isnan(strict.true_positive)
    assert "needs 1,000 other images, not 400" in strict.reason
    assert loose.reason == ""


def test_the_interval_of_the_auroc_covers_a_half_when_nothing_is_there() -> None:
    rng = np.random.default_rng(1)
    found = [membership(rng.random(60), rng.random(60)) for _ in range(80)]
    assert sum(f.low < 0.5 < f.high for f in found) > 70


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Patches of 60 images about a few common places, each image a little its own."""
    rng = np.random.default_rng(3)
    places = rng.standard_normal((6, 24))
    made = []
    for _ in range(60):
        own = places + 0.1 * rng.standard_normal((6, 24))
        noise = 0.2 * rng.standard_normal((40, 24))
        made.append((own[rng.integers(6, size=40)] + noise).astype(np.float32))
    return made


@pytest.fixture(scope="module")
def codebook(images: list[np.ndarray]) -> Codebook:
    return public_codebook(np.concatenate(images[40:]), 16, 8, seed=0, source="test")


def test_a_raw_bank_gives_its_images_away_and_fresh_rows_do_not(images: list[np.ndarray]) -> None:
    members, others, public = images[:20], images[20:40], images[40:]
    patches = np.concatenate(members)
    raw = patches[greedy_k_center(patches, 100).indices]
    fresh = np.concatenate(others)[::4]
    kept = reconstruction(raw, members, fresh)
    assert (kept.copies, kept.ratio) == (1.0, 0.0)
    strangers = reconstruction(np.concatenate(public), members, fresh)
    assert strangers.copies == 0
    assert 0.8 < strangers.ratio < 1.25
    shadow = NearestNeighbours(np.concatenate(public)[::8])
    for rows, low, high in ((raw, 0.99, 1.0), (np.concatenate(public)[::8], 0.25, 0.75)):
        bank = NearestNeighbours(rows)
        inside, outside = (
            attack_scores(*(np.stack([image_statistics(b, x) for x in group]) for b in both))
            for group, both in ((members, (bank, shadow)), (others, (bank, shadow)))
        )
        assert list(inside) == [
            "nearest patch",
            "mean patch",
            "nearest, calibrated",
            "mean, calibrated",
        ]
        assert low <= membership(inside["nearest patch"], outside["nearest patch"]).auroc <= high


def test_reconstruction_needs_all_three(images: list[np.ndarray]) -> None:
    for rows, members, fresh in (
        (images[0][:0], images[:1], images[1]),
        (images[0], [], images[1]),
        (images[0], images[:1], images[1][:0]),
    ):
        with pytest.raises(ConfigError, match="reconstruction needs"):
            reconstruction(rows, members, fresh)


# -- mechanisms ----------------------------------------------------------------------


def test_the_cell_canary_moves_the_sums_by_exactly_one(codebook: Codebook) -> None:
    sums = CellSums(codebook, 1e-3)
    for patches in (1, 7, 729):
        u = sums.contribution(cell_canary(codebook, patches)) * sums.step
        assert 0.9999 < np.linalg.norm(u) <= 1.0


def test_cells_keep_their_claim(images: list[np.ndarray], codebook: Codebook) -> None:
    found = audit_mechanism(
        "cells", images[:40], codebook, epsilon=8.0, runs=20_000, confidence=SURE
    )
    assert found.moved <= 1.0
    assert not found.contradicted
    assert 1.8 < found.bound.epsilon < found.for_the_canary <= 8.0
    assert 5.5 < found.gaussian.epsilon < found.for_the_canary
    assert found.rows == 0


def test_cells_with_too_little_noise_are_caught(
    images: list[np.ndarray], codebook: Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the audit is for: noise of two thirds of what the claim needs."""
    right = CellSums.__init__

    def wrong(self: CellSums, book: Codebook, sigma: float) -> None:
        right(self, book, sigma * 2 / 3)

    monkeypatch.setattr(CellSums, "__init__", wrong)
    found = audit_mechanism("cells", images[:5], codebook, epsilon=8.0, confidence=SURE)
    assert found.contradicted


def test_moments_keep_their_claim_and_too_little_noise_is_caught(
    images: list[np.ndarray], codebook: Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"epsilon": 8.0, "confidence": SURE}
    found = audit_mechanism("moments", images[:40], codebook, **told)
    assert 0.9999 < found.moved <= 1.0
    assert not found.contradicted
    assert 5.5 < found.gaussian.epsilon < found.for_the_canary <= 8.0
    right = MomentSums._share

    def wrong(self: MomentSums, points: np.ndarray) -> np.ndarray:
        return right(self, points) * 1.5

    monkeypatch.setattr(MomentSums, "_share", wrong)
    assert not audit_mechanism("moments", images[:5], codebook, **told).contradicted  # held to 1
    release = MomentSums.release
    monkeypatch.setattr(
        MomentSums, "release", lambda self, total: total + (release(self, total) - total) * 2 // 3
    )
    assert audit_mechanism("moments", images[:5], codebook, **told).contradicted


def test_kernel_sums_keep_their_claim(images: list[np.ndarray], codebook: Codebook) -> None:
    found = audit_mechanism("kernel", images[:40], codebook, epsilon=8.0, confidence=SURE)
    assert 0.999 < found.moved <= 1.0
    assert not found.contradicted
    assert 5.5 < found.gaussian.epsilon < found.for_the_canary <= 8.0


def test_per_vector_shows_far_more_than_its_nominal_epsilon(
    images: list[np.ndarray], codebook: Codebook
) -> None:
    found = audit_mechanism(
        "per-vector", images[:20], codebook, epsilon=1.0, runs=6000, confidence=SURE
    )
    assert found.rows > 50
    assert found.moved > 8
    assert found.bound.epsilon > 2
    assert found.gaussian.epsilon > 6
    assert found.gaussian.epsilon < found.for_the_canary <= found.for_an_image
    assert found.contradicted


def test_raw_rows_reach_the_ceiling(images: list[np.ndarray], codebook: Codebook) -> None:
    found = audit_mechanism("raw", images[:20], codebook, runs=1000)
    assert found.bound.epsilon == found.bound.ceiling > 4
    assert found.gaussian is None
    assert not found.contradicted  # nothing was claimed


def test_an_ordinary_image_shows_less_than_the_worst(
    images: list[np.ndarray], codebook: Codebook
) -> None:
    found = audit_mechanism("cells", images[:20], codebook, runs=100, canary=images[20])
    assert found.moved < 0.95
    assert found.for_the_canary < found.for_an_image == 1.0
    with pytest.raises(ConfigError, match="unknown mechanism"):
        audit_mechanism("rows", images, codebook)


def test_the_scattered_canary_takes_over_a_coreset(
    images: list[np.ndarray], codebook: Codebook
) -> None:
    known = np.concatenate(images[:40])
    everything = np.concatenate([known, scattered_canary(codebook)])
    assert (greedy_k_center(everything, 50).indices >= len(known)).mean() > 0.9


# -- claims --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("privacy", "mechanism", "epsilon"),
    [
        ({"mechanism": "off"}, "off", math.inf),
        ({}, "off", math.inf),
        ({"mechanism": "cells", "epsilon": 2, "delta": 1e-6}, "cells", 2.0),
        ({"mechanism": "cells", "epsilon": "inf"}, "cells", math.inf),
        ({"mechanism": "cells"}, "cells", math.inf),
        (
            {"sites": [{"mechanism": "cells", "epsilon": 1}, {"mechanism": "cells", "epsilon": 3}]},
            "cells",
            3.0,
        ),
    ],
)
def test_claims_are_read_with_tolerance(privacy: dict, mechanism: str, epsilon: float) -> None:
    found = claim_of(privacy)
    assert (found.mechanism, found.epsilon) == (mechanism, epsilon)
    assert 0 < found.delta < 1


def test_a_copy_in_a_private_bank_contradicts_it(images: list[np.ndarray]) -> None:
    claim = claim_of({"mechanism": "cells", "epsilon": 8.0, "delta": DELTA})
    kept = reconstruction(images[0], images[:1], images[1])
    assert contradicts(claim, {}, kept)
    assert not contradicts(claim_of({}), {}, kept)
    assert not contradicts(claim, {}, reconstruction(images[2], images[:1], images[1]))


# -- command line --------------------------------------------------------------------


@pytest.fixture
def audited(
    cli, tmp_path: Path, backbone, weights_file: Path
) -> tuple[Path, list[object], MemoryBank]:
    """A raw bank over 12 images, and the words that audit it."""
    for at, name in enumerate(("members", "others", "reference")):
        write_product(tmp_path / name, train=12, good=0, bad=0, seed=5000 * at)
    from fedpatchcore.data.images import list_images, load_image

    paths = list_images(tmp_path / "members", recursive=True)
    patches = backbone.extract([load_image(p) for p in paths]).reshape(-1, backbone.dimension)
    rows = patches[greedy_k_center(patches, 60).indices]
    section = Section(rows, np.full(60, -1, np.int32), 1.0)
    bank = MemoryBank(backbone.fingerprint, {"plate": section})
    file = tmp_path / "bank.safetensors"
    bank.save(file)
    words = ["--members", tmp_path / "members", "--others", tmp_path / "others"]
    return file, [*words, "--weights", weights_file, "--device", "cpu"], bank


def test_audit_of_a_raw_bank_says_so_and_exits_zero(cli, audited) -> None:
    file, words, _ = audited
    code, out, _ = cli("audit", "bank", file, *words, "--reference", file.parent / "reference")
    assert code == 0
    for told in ("no protection", "nearest, calibrated", "100.0% of 60", "gives images away"):
        assert told in out
    assert "needs 1,000 other images, not 12" in out


def test_audit_of_a_bank_that_lies_exits_one(cli, audited) -> None:
    file, words, bank = audited
    lie = {"mechanism": "cells", "epsilon": 1.0, "delta": 1e-5}
    replace(bank, privacy=lie).save(file)
    code, out, _ = cli("audit", "bank", file, *words, "--json")
    told = json.loads(out)
    assert code == 1
    assert told["contradicted"] is True
    assert told["claim"] == lie
    assert told["reconstruction"]["copies"] == 1.0
    assert told["attacks"]["nearest patch"]["rates"][0]["true_positive"] is None


def test_audit_of_a_bank_that_keeps_nothing_exits_zero(cli, audited) -> None:
    file, words, bank = audited
    rows = np.random.default_rng(0).standard_normal((60, bank.fingerprint.dimension))
    section = replace(bank.sections["plate"], features=rows.astype(np.float32))
    claim = {"mechanism": "cells", "epsilon": 1.0, "delta": 1e-5}
    replace(bank, sections={"plate": section}, privacy=claim).save(file)
    code, out, _ = cli("audit", "bank", file, *words)
    assert code == 0
    assert "Nothing here contradicts ε = 1" in out


def test_one_image_on_both_sides_is_an_error(cli, audited) -> None:
    file, words, _ = audited
    code, _, err = cli("audit", "bank", file, *words, "--others", file.parent / "members")
    assert code == 2
    assert "the same image is in members and others" in err


def test_audit_of_mechanisms(cli, tmp_path: Path, weights_file: Path, monkeypatch) -> None:
    from fedpatchcore.data.sample import write_sample

    def sample(sites: int) -> Path:
        write_sample(tmp_path / "sample", sites=2, train=2, test_good=0, test_defective=0)
        return tmp_path / "sample"

    monkeypatch.setattr("fedpatchcore.site.virtual.sample_folder", sample)
    small = ["-c", "image-size=64"]
    code, out, _ = cli("audit", "mechanism", "raw", "--runs", 200, *small)
    assert code == 0
    assert "hide nothing and claim nothing" in out
    code, out, _ = cli("audit", "mechanism", "per-vector", "--runs", 2000, "--json", *small)
    told = json.loads(out)
    assert code == 1
    assert told["contradicted"] is True
    assert "is of one row, not of an image" in told["verdict"]
    code, out, _ = cli(
        "audit", "mechanism", "cells", "--runs", 2000, "--confidence", 0.99999, *small
    )
    assert code == 0
    assert "Nothing here contradicts" in out
    code, _, err = cli("audit", "mechanism", "rows")
    assert code == 2
    assert "one of cells, moments, kernel, per-vector, raw" in err
