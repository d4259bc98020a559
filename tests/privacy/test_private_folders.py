"""What one image in a site's folder changes in what the site sends: its own share and no more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.cells import CellSums
from fedpatchcore.privacy.codebook import ANY, Codebook, public_codebook
from fedpatchcore.privacy.ledger import Ledger
from fedpatchcore.privacy.policy import Policy
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.site.private import private_reply
from fedpatchcore.site.site import Site
from tests.support.codebooks import BOOK, squares
from tests.support.products import picture, write_product

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def book_file(backbone) -> Codebook:
    features, _, _ = Extractor(backbone).all(public_pictures())
    return public_codebook(features.reshape(-1, 128), 8, 4, seed=0, source="pictures")


def public_pictures(count: int = 4) -> list[Path]:
    import tempfile

    folder = Path(tempfile.mkdtemp())
    for at in range(count):
        picture(40_000 + at).save(folder / f"{at}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def answer(settings: Callable[..., RunConfig], backbone, book_file: Codebook, tmp_path: Path):
    """A private reply over a folder; with ``true=True`` the sums that the noise went onto."""

    def make(folder: Path, *, true: bool = False, cache: Path | None = None, **overrides):
        made = {"dp": "cells", "dp_epsilon": 1.0, **overrides}
        config = settings(**made)
        ledger = tmp_path / f"ledger-{len(list(tmp_path.iterdir()))}"
        site = Site(
            "a",
            discover(folder),
            config,
            backbone,
            policy=Policy(ledger),
            cache=SiteCache(cache, 1.0) if cache else None,
        )
        if true:
            drawn = []
            release = CellSums.release

            def spy(self, total, **kwargs):
                drawn.append(total.copy())
                return release(self, total, **kwargs)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(CellSums, "release", spy)
                private_reply(site, {ANY: book_file}, Asked(run="r"))
            return drawn[0], Ledger(ledger).charges()[0]
        return private_reply(site, {ANY: book_file}, Asked(run="r"))

    return make


def test_copies_of_a_file_count_once(answer, tmp_path: Path) -> None:
    folder = write_product(tmp_path / "a" / "plate", train=6, good=0, bad=0)
    once, charge = answer(tmp_path / "a", true=True, holdout=0.0)
    good = folder / "train" / "good"
    shutil.copy(good / "000.png", good / "000-again.png")
    shutil.copy(good / "001.png", good / "zzz.png")
    twice, again = answer(tmp_path / "a", true=True, holdout=0.0)
    np.testing.assert_array_equal(once, twice)
    assert charge.images == again.images and len(charge.images) == 6


@pytest.mark.parametrize(("holdout", "cached"), [(0.0, True), (0.4, False)])
def test_one_image_in_a_folder_moves_the_sum_by_one_at_most(
    answer, tmp_path: Path, holdout: float, cached: bool
) -> None:
    """Not the image alone: neither who is held out nor how batches are cut may follow from it."""
    folder = write_product(tmp_path / "a" / "plate", train=9, good=0, bad=0)
    told = {"true": True, "holdout": holdout, "batch_size": 4}
    told |= {"dp_epsilon": 1e6, "dp_budget_epsilon": 1e6}  # steps so fine that all digits show
    if cached:
        told["cache"] = tmp_path / "cache"
    step = CellSums(BOOK, gaussian_sigma(1e6, 1e-5)).step
    before, charge = answer(tmp_path / "a", **told)
    for seed in range(3):
        new = folder / "train" / "good" / f"{seed}-new.png"
        picture(60_000 + seed, defect=True).save(new)
        lonely = tmp_path / f"lonely-{seed}" / "plate" / "train" / "good" / "new.png"
        lonely.parent.mkdir(parents=True)
        shutil.copy(new, lonely)
        alone, _ = answer(lonely.parents[3], true=True, dp_epsilon=1e6, dp_budget_epsilon=1e6)
        after, more = answer(tmp_path / "a", **told)
        np.testing.assert_array_equal(after - before, alone)
        assert 0 < squares(alone, step) <= 1
        assert len(set(more.images) - set(charge.images)) == 1
        assert set(charge.images) < set(more.images)
        new.unlink()


def test_unreadable_files_are_neither_summed_nor_charged(answer, tmp_path: Path) -> None:
    folder = write_product(tmp_path / "a" / "plate", train=6, good=0, bad=0)
    clean, charge = answer(tmp_path / "a", true=True)
    (folder / "train" / "good" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nhello")
    (folder / "train" / "good" / "empty.png").write_bytes(b"")
    dirty, again = answer(tmp_path / "a", true=True, max_bad_images=0.5)
    np.testing.assert_array_equal(clean, dirty)
    assert charge.images == again.images
