"""The whole frame as it is shaped, and large pictures: what is seen, and how a map goes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedpatchcore.features.geometry import Geometry

SIDES = st.integers(1, 9000)


@pytest.mark.parametrize(
    ("size", "field"),
    [
        ((224, 224), (224, 224)),
        ((1000, 1000), (224, 224)),
        ((500, 1270), (144, 352)),
        ((1270, 500), (352, 144)),
        ((4190, 3040), (256, 192)),
        ((8000, 2000), (448, 112)),
        ((8000, 100), (1024, 64)),  # beyond 16 to 1 it is squeezed
        ((3, 4), (192, 256)),
    ],
)
def test_golden_fields_of_a_whole_frame(size, field) -> None:
    assert Geometry("whole", 224).field(*size) == field


@given(SIDES, SIDES, st.sampled_from([32, 64, 224, 320, 448]), st.sampled_from([8, 14, 16, 32]))
def test_a_whole_frame_keeps_its_shape_at_the_cost_of_a_square(w, h, size, stride) -> None:
    geometry = Geometry("whole", size, stride)
    width, height = geometry.field(w, h)
    assert width % stride == height % stride == 0
    assert min(width, height) >= min(64, size)
    assert width * height <= geometry.most_pixels == geometry.most_patches
    if 1 / 16 < w / h < 16 and size >= 224:
        grown = max(1.0, 64 / (size * min(w / h, h / w) ** 0.5)) ** 2
        assert width * height <= grown * (size + stride) ** 2 * 1.3
        wide, high = width / w, height / h  # the same scale, but for half a stride a side
        assert abs(wide * w - high * w) <= stride * (1 + w / h)
    assert geometry.extent(w, h) == (0, 0, w, h) and geometry.share(w, h) == 1


@pytest.mark.parametrize("size", [(100, 100), (64, 64), (501, 501)])
def test_a_square_picture_is_seen_as_by_full(size) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    whole, full = Geometry("whole", 64), Geometry("full", 64)
    assert np.array_equal(whole.image(image), full.image(image))
    mask = np.zeros(size, dtype=bool)
    mask[3:30, 9:50] = True
    for grid in ((8, 8), (7, 7), (15, 15)):
        assert whole.canvas(grid) == full.canvas(grid) == (64, 64)
        assert np.array_equal(whole.mask(mask, grid), full.mask(mask, grid))


@pytest.mark.parametrize("kind", ["whole", "tiles"])
@pytest.mark.parametrize("size", [(300, 300), (80, 200), (203, 87)])
def test_there_and_back(kind, size) -> None:
    width, height = size
    gradient = np.tile(np.linspace(0, 250, width), (height, 1)).astype(np.uint8)
    geometry = Geometry(kind, 96)
    seen = geometry.image(Image.fromarray(gradient).convert("RGB"))
    assert seen.size == geometry.field(width, height)
    grid = (seen.height // 8, seen.width // 8)
    canvas = geometry.canvas(grid)
    square = np.asarray(seen.convert("L").resize(canvas[::-1], Image.Resampling.BILINEAR))
    back = geometry.restore(square.astype(np.float32), width, height)
    assert back.shape == (height, width) and np.isfinite(back).all()
    assert np.abs(back - gradient)[:, 9:-9].max() < 12
    marked = gradient > 125
    found = geometry.restore(geometry.mask(marked, grid).astype(np.float32), width, height) > 0.5
    assert (found ^ marked).mean() < 0.06


@given(SIDES, SIDES)
def test_tiles_see_every_pixel_as_it_is(w, h) -> None:
    width, height = Geometry("tiles", 128).field(w, h)
    assert 0 <= width - w < 16 and 0 <= height - h < 16
    assert Geometry("tiles", 128).seen(w, h) == (0, 0, w, h)
    assert Geometry("tiles", 128).needed(w, h) == (w, h)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (63, 64), (65, 200), (130, 97)])
def test_a_picture_goes_on_as_numpy_reflects_it(mode: str, size: tuple[int, int]) -> None:
    """Also a small one, again and again."""
    channels = () if mode == "L" else (3,)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], *channels), np.uint8)
    geometry = Geometry("tiles", 64)
    seen = np.asarray(geometry.image(Image.fromarray(pixels, mode)))
    spare = [(0, seen.shape[at] - pixels.shape[at]) for at in range(2)]
    assert all(more >= 0 for _, more in spare) and any(more for _, more in spare)
    assert np.array_equal(seen, np.pad(pixels, [*spare, *[(0, 0)] * len(channels)], "symmetric"))


def test_beyond_its_last_pixels_a_picture_is_reflected() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (21, 40, 3), np.uint8)
    found = np.asarray(Geometry("tiles", 64).image(Image.fromarray(pixels)))
    assert found.shape == (32, 48, 3)
    assert np.array_equal(found[:21, :40], pixels)
    assert np.array_equal(found[:21, 40:], pixels[:, :-9:-1])
    assert np.array_equal(found[21:, :40], pixels[:-12:-1])


def test_a_crop_says_how_much_it_shows() -> None:
    crop = Geometry("crop", 224)
    assert crop.share(500, 1270) == pytest.approx((500 * 7 / 8) ** 2 / (500 * 1270), rel=0.01)
    assert crop.share(300, 300) == pytest.approx((7 / 8) ** 2, rel=0.01)
    assert Geometry("full", 224).share(500, 1270) == 1
