"""From patches to a picture's score: the largest, or the mean of the largest few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.detection.detector import PatchCore, config_of
from fedpatchcore.detection.image_score import highest, image_scores
from fedpatchcore.detection.regions import find_regions
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.share import share_of, told_share
from fedpatchcore.errors import BankError, ConfigError
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.site.vetting import vet
from tests.support.products import picture


@given(st.integers(1, 60), st.integers(1, 1_000_000), st.integers(0, 2**32 - 1))
def test_it_is_the_mean_of_the_largest(patches: int, top: int, seed: int) -> None:
    given_ = np.random.default_rng(seed).random((3, patches)).astype(np.float32)
    count = max(1, round(top * patches / 1e6))
    assert highest(patches, top) == count
    expected = [np.mean(sorted(row.tolist(), reverse=True)[:count]) for row in given_]
    np.testing.assert_allclose(image_scores(given_, top), expected, rtol=1e-6)
    assert np.array_equal(image_scores(given_), given_.max(1).astype(float))


@pytest.mark.parametrize(
    ("text", "top"), [("max", 0), ("1%", 10_000), ("0.01", 10_000), ("100%", 10**6), ("0.01%", 100)]
)
def test_words_of_a_score(text: str, top: int) -> None:
    assert share_of(text) == top == share_of(told_share(top))


@pytest.mark.parametrize("text", ["", "mean", "0", "-1%", "101%", "2", "nan", "1e-9"])
def test_other_words_are_refused_by_name(text: str, settings) -> None:
    with pytest.raises(ConfigError, match="image-score: max, or a share"):
        share_of(text)
    with pytest.raises(ValueError, match="image-score"):
        settings(image_score=text)


def test_what_weighs_the_highest_patch_alone_is_refused(settings) -> None:
    with pytest.raises(ValueError, match="image-score='1%' takes reweight=0"):
        settings(image_score="1%", reweight=3)


@given(st.integers(0, 2**32 - 1), st.sampled_from([20_000, 100_000, 400_000]), st.floats(0.3, 1.2))
def test_a_picture_above_the_threshold_has_a_region_and_no_other(seed, top, share) -> None:
    """Also if no patch, or many, lie beyond the threshold itself."""
    patches = np.random.default_rng(seed).gamma(2, size=(6, 9)).astype(np.float32)
    score = float(image_scores(patches.reshape(1, -1), top)[0])
    threshold = share * float(patches.max())
    regions, mask = find_regions(patches, score, threshold, Geometry("whole", 72), (90, 60))
    assert bool(regions) == mask.any() == (score > threshold)
    if regions:
        assert regions[0].peak == patches.max()


@pytest.fixture
def detector(settings, backbone) -> PatchCore:
    tool = PatchCore(settings(image_score="2%", coreset_size=60), backbone=backbone)
    return tool.fit({"plate": [picture(at) for at in range(16)]})


def test_a_bank_says_how_its_pictures_are_scored(detector, tmp_path, settings) -> None:
    bank = detector.bank
    assert bank.scoring["top"] == 20_000 and bank.header()["format"] == 2
    bank.save(tmp_path / "bank.safetensors")
    again = MemoryBank.load(tmp_path / "bank.safetensors")
    assert again.scoring == bank.scoring and config_of(again).image_score == "2%"
    one = detector.predict(picture(99, defect=True))
    patches = Scorer.of(bank, "plate")(detector.backbone.extract([picture(99, defect=True)]))
    flat = np.sort(np.asarray(patches.patches).ravel())[::-1]
    assert one.score == pytest.approx(flat[: round(0.02 * flat.size)].mean(), rel=1e-5)
    assert one.defective and one.regions
    with pytest.raises(BankError, match=r"scored with top=20000, this run's is 0"):
        vet(bank, settings())
    vet(bank, settings(image_score="2%"))


def test_a_bank_that_takes_the_largest_is_written_as_ever(settings, backbone) -> None:
    tool = PatchCore(settings(), backbone=backbone).fit({"p": [picture(at) for at in range(6)]})
    assert tool.bank.header()["format"] == 1 and "top" not in tool.bank.scoring
