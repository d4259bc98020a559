"""Planted defects: exact masks, sizes and contrasts, one seed, only where there is something."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.ndimage import gaussian_filter

from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.planted.cells import CONTRASTS, SIZES
from fedpatchcore.planted.grid import Task, tasks
from fedpatchcore.planted.places import backdrop, structure
from fedpatchcore.planted.planting import KINDS, Planted, plant

SIDE = 160


def textured(seed: int = 0, shape: tuple[int, int] = (SIDE, SIDE + 40)) -> np.ndarray:
    """Grain and soft spots all over, in colour."""
    rng = np.random.default_rng(seed)
    soft = gaussian_filter(rng.normal(size=(*shape, 3)), (6, 6, 0))
    grain = rng.normal(0, 6, (*shape, 1))
    return np.clip(128 + 45 * soft / soft.std() + grain, 0, 255).astype(np.uint8)


def part_on_backdrop() -> np.ndarray:
    """A bright, smooth square with a darker hole on a dark, grainy backdrop."""
    rng = np.random.default_rng(1)
    grey = np.full((SIDE, SIDE), 40.0)
    grey[50:110, 40:120] = 200
    grey[70:85, 70:85] = 120
    grey += rng.normal(0, 3, grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


PICTURE = textured()


@given(
    kind=some.sampled_from(sorted(KINDS)),
    size=some.floats(0.02, 0.5),
    contrast=some.floats(0.02, 0.5),
    seed=some.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_the_mask_holds_all_that_was_changed_and_encloses_nothing_more(
    kind: str, size: float, contrast: float, seed: int
) -> None:
    found = plant(PICTURE, kind, size, contrast, seed)
    changed = (found.picture != PICTURE).any(axis=2)
    assert found.mask.any() and not (changed & ~found.mask).any()
    edge = found.mask & ~_eroded(found.mask)
    assert changed[edge].all()  # its outermost pixels are changed, so it is no larger than that
    step = np.abs(found.picture.astype(float) - PICTURE.astype(float))[found.mask]
    assert found.contrast == pytest.approx(step.mean() / 255)
    assert found.picture.dtype == np.uint8 and found.picture.shape == PICTURE.shape
    left, top, right, bottom = found.box
    assert found.mask[top:bottom, left:right].sum() == found.mask.sum()
    assert found.extent <= max(4, round(size * SIDE)) + 3


def _eroded(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & mask


@pytest.mark.parametrize("kind", KINDS)
def test_size_and_contrast_are_what_was_asked_for(kind: str) -> None:
    found = [plant(PICTURE, kind, size, 0.12, 7 * at) for at in range(5) for size in (0.1, 0.3)]
    small, large = found[::2], found[1::2]
    assert np.mean([one.contrast for one in found]) == pytest.approx(0.12, abs=0.012)
    assert np.mean([one.extent for one in small]) == pytest.approx(0.1 * SIDE, rel=0.35)
    assert np.mean([one.extent for one in large]) == pytest.approx(0.3 * SIDE, rel=0.35)
    fainter = plant(PICTURE, kind, 0.2, 0.05, 3).contrast
    assert fainter < plant(PICTURE, kind, 0.2, 0.2, 3).contrast


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_arguments_give_the_same_and_another_seed_another(kind: str) -> None:
    before = PICTURE.copy()
    one, again = (plant(PICTURE, kind, 0.15, 0.1, [3, 4]) for _ in range(2))
    assert np.array_equal(one.picture, again.picture) and np.array_equal(one.mask, again.mask)
    other = plant(PICTURE, kind, 0.15, 0.1, [3, 5])
    assert not np.array_equal(one.mask, other.mask)
    assert np.array_equal(PICTURE, before)  # what is planted into stays as it is


def test_kinds_are_what_they_are_called() -> None:
    def at(kind: str, contrast: float = 0.12) -> Planted:
        return plant(PICTURE, kind, 0.3, contrast, 11)

    scar = at("scar")
    area = {kind: at(kind).mask.sum() for kind in KINDS}
    assert area["scar"] < 0.35 * min(area[kind] for kind in KINDS if kind != "scar")
    assert scar.mask.sum() < 0.2 * scar.extent**2  # thin
    blur = at("blur", 0.03)
    y, x = (np.s_[blur.box[1] + 8 : blur.box[3] - 8], np.s_[blur.box[0] + 8 : blur.box[2] - 8])
    rough = [
        np.abs(np.diff(one[y, x].astype(float), axis=0)).mean() for one in (blur.picture, PICTURE)
    ]
    assert rough[0] < 0.6 * rough[1]
    pasted = at("pasted", 1.0)  # at full strength the piece is as it was elsewhere
    known = {tuple(colour) for colour in PICTURE.reshape(-1, 3)}
    inner = pasted.picture[_eroded(_eroded(pasted.mask))]
    assert all(tuple(colour) in known for colour in inner)


def test_defects_lie_on_the_part_and_on_its_smooth_surfaces_too() -> None:
    picture = part_on_backdrop()
    chance = structure(picture, 0.08)
    assert chance.sum() == pytest.approx(1)
    scale = chance.shape[0] / SIDE
    part = chance[round(48 * scale) : round(112 * scale), round(38 * scale) : round(122 * scale)]
    assert part.sum() > 0.97
    smooth = chance[round(90 * scale) : round(100 * scale), round(90 * scale) : round(110 * scale)]
    assert 0 < smooth.max() < chance.max()
    centres = []
    for seed in range(30):
        left, top, right, bottom = plant(picture, "blob", 0.08, 0.15, seed).box
        centres.append(((left + right) / 2, (top + bottom) / 2))
    assert all(34 <= x <= 126 and 44 <= y <= 116 for x, y in centres)


def test_what_is_missing_shows_what_lies_behind() -> None:
    picture = part_on_backdrop()
    assert backdrop(picture) == pytest.approx([40] * 3, abs=2)
    found = plant(picture, "missing", 0.1, 1.0, 2)
    inner = found.picture[_eroded(found.mask)].astype(float)
    assert inner.mean() == pytest.approx(40, abs=6)
    dark = np.quantile(PICTURE.reshape(-1, 3), 0.02, axis=0)
    assert backdrop(PICTURE) == pytest.approx(dark)  # a part that fills the picture: a hole


def test_a_plain_picture_has_no_structure_and_takes_what_can_be_drawn() -> None:
    plain = np.full((64, 64, 3), 90, np.uint8)
    chance = structure(plain, 0.1)
    assert np.ptp(chance) == 0 and chance.sum() == pytest.approx(1)
    assert plant(plain, "scar", 0.2, 0.1, 0).contrast == pytest.approx(0.1, abs=0.02)
    with pytest.raises(DataError, match="no 'pasted' can be planted: it changes no pixel"):
        plant(plain, "pasted", 0.2, 0.1, 0)


def test_what_the_picture_does_not_leave_is_said() -> None:
    dull = (120 + 4 * np.random.default_rng(0).random((64, 64, 3))).astype(np.uint8)
    found = plant(dull, "pasted", 0.2, 0.3, 0)
    assert found.faint and found.asked == 0.3 and 0 < found.contrast < 0.03
    assert not plant(PICTURE, "scar", 0.2, 0.1, 0).faint


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"kind": "dent"}, ConfigError, "'dent' is no kind .* there are pasted, scar, blob"),
        ({"size": 0.0}, ConfigError, "size .* got 0"),
        ({"size": float("nan")}, ConfigError, "size .* got nan"),
        ({"size": 0.6}, ConfigError, "size .* got 0.6"),
        ({"contrast": 0.0}, ConfigError, "contrast .* got 0"),
        ({"contrast": 1.1}, ConfigError, "contrast .* got 1.1"),
        ({"picture": PICTURE[..., 0]}, DataError, r"uint8 \[H, W, 3\], got uint8 \(160, 200\)"),
        ({"picture": PICTURE / 255}, DataError, "got float64"),
        ({"picture": PICTURE[:20]}, DataError, "200x20 is too small .* 32 pixels"),
    ],
)
def test_what_cannot_be_planted_is_refused(changes: dict, error: type, words: str) -> None:
    given = {"picture": PICTURE, "kind": "scar", "size": 0.1, "contrast": 0.1, "seed": 0}
    with pytest.raises(error, match=words):
        plant(**(given | changes))


@pytest.mark.parametrize("shape", [(32, 32), (33, 400), (500, 40)])
def test_odd_shapes_are_planted_into(shape: tuple[int, int]) -> None:
    picture = textured(3, shape)
    for kind in KINDS:
        for size in (0.02, 0.5):
            assert plant(picture, kind, size, 0.2, 1).mask.any()


def test_the_grid_is_dealt_evenly_and_from_one_seed() -> None:
    every = tasks(50, 3, seed=4)
    assert len(every) == 150 and every == tasks(50, 3, seed=4) != tasks(50, 3, seed=5)
    cells = {(t.kind, t.size, t.contrast): 0 for t in every}
    for task in every:
        cells[task.kind, task.size, task.contrast] += 1
    assert len(cells) == len(KINDS) * len(SIZES) * len(CONTRASTS) == 60
    assert set(cells.values()) == {2, 3}
    assert np.bincount([t.image for t in every]).tolist() == [3] * 50
    assert len({t.seed for t in every}) == 150
    few = tasks(2, 1, kinds=["scar"], sizes=[0.1], contrasts=[0.2])
    assert few[1] == Task(1, "scar", 0.1, 0.2, (0, 1, 1))
    assert few[1].into(PICTURE).kind == "scar"


@pytest.mark.parametrize("changes", [{"images": 0}, {"each": 0}, {"kinds": []}])
def test_an_empty_grid_is_refused(changes: dict) -> None:
    with pytest.raises(ConfigError, match="planting needs a picture"):
        tasks(**({"images": 3} | changes))
