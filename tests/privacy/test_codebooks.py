"""Codebooks: as files, from public images, refined by a release, and back from a checkpoint."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.codebook import ANY, Codebook, public_codebook
from fedpatchcore.privacy.survey import survey_of
from fedpatchcore.server.private_rounds import PrivateRounds
from tests.support.codebooks import BOOK, D, public
from tests.support.fingerprints import FINGERPRINT
from tests.support.products import picture

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_codebook_survives_its_file(tmp_path: Path) -> None:
    BOOK.save(tmp_path / "book.safetensors", FINGERPRINT)
    again, fingerprint = Codebook.load(tmp_path / "book.safetensors")
    assert fingerprint == FINGERPRINT
    assert (again.digest, again.radius, again.source) == (BOOK.digest, BOOK.radius, "test")
    for name, one in BOOK.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], one)
    raw = bytearray((tmp_path / "book.safetensors").read_bytes())
    raw[-3] ^= 1
    (tmp_path / "book.safetensors").write_bytes(raw)
    with pytest.raises(PrivacyError, match="damaged"):
        Codebook.load(tmp_path / "book.safetensors")
    with pytest.raises(PrivacyError, match="does not exist"):
        Codebook.load(tmp_path / "none.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(PrivacyError, match="cannot write codebook"):
        BOOK.save(tmp_path / "file" / "book.safetensors", FINGERPRINT)


def test_the_digest_covers_all_that_gives_a_release_its_meaning() -> None:
    seen = {BOOK.digest}
    for name in ("centre", "cells"):
        other = getattr(BOOK, name).copy()
        other.flat[-1] += np.float32(1e-3)
        seen.add(replace(BOOK, **{name: other}).digest)
    seen.add(replace(BOOK, basis=BOOK.basis[:, ::-1].copy()).digest)  # still orthonormal
    seen.add(replace(BOOK, radius=BOOK.radius * 1.001).digest)
    seen.add(replace(BOOK, cells=BOOK.cells[::-1].copy()).digest)
    assert len(seen) == 6
    assert replace(BOOK, source="other words").digest == BOOK.digest
    assert replace(BOOK, radius=np.float64(BOOK.radius)).digest == BOOK.digest


BAD_BOOKS = {
    "a centre of another length": {"centre": np.zeros(D + 1, np.float32)},
    "a flat basis": {"basis": np.zeros(D, np.float32)},
    "cells of another width": {"cells": np.zeros((4, 2), np.float32)},
    "no cells": {"cells": np.zeros((0, 3), np.float32)},
    "another spread": {"spread": np.zeros(2, np.float32)},
    "float64": {"cells": np.zeros((4, 3))},
    "NaN": {"basis": np.full((D, 3), np.nan, np.float32)},
    "radius 0": {"radius": 0.0},
    "radius NaN": {"radius": math.nan},
    "radius infinite": {"radius": math.inf},
}


@pytest.mark.parametrize("name", BAD_BOOKS)
def test_a_codebook_that_does_not_fit_itself_is_refused(name: str) -> None:
    with pytest.raises(PrivacyError, match="codebook"):
        replace(BOOK, **BAD_BOOKS[name])


def test_a_codebook_without_an_array_is_refused() -> None:
    rest = {k: v for k, v in BOOK.arrays().items() if k != "basis"}
    with pytest.raises(PrivacyError, match="without basis"):
        Codebook.of(rest, 1.0, "x")


def test_public_codebook_says_what_it_cannot_do() -> None:
    few = np.zeros((5, 4), np.float32)
    with pytest.raises(PrivacyError, match="dp-projection=5 is above the 4"):
        public_codebook(few, 2, 5, seed=0, source="x")
    with pytest.raises(PrivacyError, match="too few for dp-cells=9"):
        public_codebook(few, 9, 2, seed=0, source="x")


def test_public_codebook_is_a_slice_along_which_patches_vary() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(900, 6)) * [9, 1e-3, 4, 1e-3, 1e-3, 1e-3] + 3
    book = public_codebook(wide.astype(np.float32), 8, 2, seed=1, source="x")
    np.testing.assert_allclose(book.basis.T @ book.basis, np.eye(2), atol=1e-5)
    np.testing.assert_allclose(book.spread, [9, 4], rtol=0.15)
    rows = wide[:50].astype(np.float32)
    np.testing.assert_allclose(book.lift(book.project(rows)), rows, atol=0.02)
    away = np.linalg.norm(book.project(wide.astype(np.float32)), axis=1)
    assert (away <= book.radius).mean() == pytest.approx(0.99, abs=0.005)
    again = public_codebook(wide.astype(np.float32), 8, 2, seed=1, source="x")
    assert again.digest == book.digest


def test_refining_moves_cells_to_where_the_release_saw_mass_and_nothing_else() -> None:
    spots = np.float32([[2, 0, 0], [-2, 0, 0]])
    new = BOOK.refined(spots, np.array([12.0, 1.0]), seed=4)
    np.testing.assert_array_equal(new.centre, BOOK.centre)
    np.testing.assert_array_equal(new.basis, BOOK.basis)
    np.testing.assert_array_equal(new.spread, BOOK.spread)
    assert new.radius == BOOK.radius and new.cells.shape == BOOK.cells.shape
    assert new.digest != BOOK.digest
    near = np.linalg.norm(new.cells[:, None] - spots, axis=2).min(1)
    assert near.max() < 1.5
    right = (new.cells[:, 0] > 0).sum()
    assert right > len(new) / 2  # most of the mass lies there
    assert BOOK.refined(spots, np.array([12.0, 1.0]), seed=4).digest == new.digest
    assert BOOK.refined(spots, np.array([12.0, 1.0]), seed=5).digest != new.digest
    BOOK.refined(spots, np.array([-1.0, -2.0]), seed=0)  # noise can make masses negative


def test_the_first_codebook_notices_other_images_under_old_names(settings, tmp_path: Path) -> None:
    """Bitmaps of one size have one file size, whatever they show."""
    from fedpatchcore.server.first_codebook import first_codebook

    folder = tmp_path / "public"
    folder.mkdir()
    config = settings(dp="cells", dp_codebook=str(folder), dp_cells=4, dp_projection=3)
    for at in range(2):
        picture(at).save(folder / f"{at}.bmp")
    first, fingerprint = first_codebook(config)
    again, _ = first_codebook(config)
    assert again.digest == first.digest and len(first) == 4
    size = (folder / "0.bmp").stat().st_size
    picture(99, defect=True).save(folder / "0.bmp")
    assert (folder / "0.bmp").stat().st_size == size
    assert first_codebook(config)[0].digest != first.digest
    assert fingerprint.dimension == 128


@pytest.mark.parametrize(
    ("source", "words"),
    [("nowhere", "is no folder of public images"), ("empty", "holds no images")],
)
def test_public_images_that_are_not_there_are_named(
    settings, tmp_path: Path, source: str, words: str
) -> None:
    from fedpatchcore.server.first_codebook import first_codebook

    (tmp_path / "empty").mkdir()
    with pytest.raises(PrivacyError, match=words):
        first_codebook(settings(dp="cells", dp_codebook=str(tmp_path / source)))


def test_codebooks_of_a_checkpoint_come_back(tmp_path: Path) -> None:
    config = RunConfig(dp="cells", num_rounds=2)
    rounds = PrivateRounds(config, BOOK)
    rounds.codebooks["plate"] = public(5)
    rounds.save(tmp_path / "books", FINGERPRINT)
    other = PrivateRounds(config, public(9))
    other.load(tmp_path / "books")
    assert {n: b.digest for n, b in other.codebooks.items()} == {
        ANY: survey_of(BOOK).digest,
        "plate": public(5).digest,
    }
    assert other.number == 2
    assert other.codebook("unknown").digest == survey_of(BOOK).digest
    (tmp_path / "books" / "sections.json").write_text("[")
    with pytest.raises(PrivacyError, match=r"sections\.json is damaged"):
        other.load(tmp_path / "books")
