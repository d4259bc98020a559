"""Masks: any value but zero is a defect, whatever the mode; several make one."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from fedpatchcore.data.images import load_mask, load_mask_values, resize_nearest, union_mask
from fedpatchcore.errors import ImageError
from tests.support.imagefiles import png16


def test_any_nonzero_value_is_a_defect(tmp_path):
    values = np.array([[0, 1, 2], [128, 254, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    mask = load_mask(tmp_path / "a.png")
    assert mask.dtype == np.bool_
    assert mask.tolist() == (values > 0).tolist()
    assert load_mask_values(tmp_path / "a.png").tolist() == values.tolist()


def test_masks_of_other_modes(tmp_path):
    want = np.array([[False, True], [True, False]])
    Image.fromarray(want).save(tmp_path / "bit.png")
    png16(tmp_path / "low16.png", want.astype(np.uint16)[..., None])  # 1 of 65535 counts
    tifffile.imwrite(tmp_path / "int32.tif", want.astype(np.int32))
    Image.fromarray(want.astype(np.uint8)[..., None] * np.array([0, 0, 9], np.uint8)).save(
        tmp_path / "blue.png"
    )
    alpha = np.zeros((2, 2, 4), np.uint8)
    alpha[..., 0] = 200
    alpha[..., 3] = want * 255
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    palette = Image.fromarray(want.astype(np.uint8), mode=None).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0] + [7] * 762)
    palette.putdata(want.astype(np.uint8).ravel().tolist())
    palette.save(tmp_path / "p.png")
    for name in ("bit.png", "low16.png", "int32.tif", "blue.png", "alpha.png", "p.png"):
        assert load_mask(tmp_path / name).tolist() == want.tolist(), name
    tifffile.imwrite(tmp_path / "float.tif", want.astype(np.float32))
    with pytest.raises(ImageError, match="floating-point mask"):
        load_mask(tmp_path / "float.tif")


def test_lossy_masks_are_cut_at_half_range(tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:17, 8:17] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=60)
    assert np.asarray(Image.open(tmp_path / "a.jpg"))[mask == 0].max() > 0  # ringing
    assert load_mask(tmp_path / "a.jpg").tolist() == (mask > 0).tolist()


def test_union_of_masks(tmp_path):
    for name, cell in [("a", (0, 0)), ("b", (1, 2))]:
        mask = np.zeros((2, 3), np.uint8)
        mask[cell] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    want = [[True, False, False], [False, False, True]]
    assert union_mask(paths, size=(3, 2)).tolist() == want
    assert union_mask(paths, size=(6, 4)).tolist() == np.kron(want, np.ones((2, 2))).tolist()
    assert union_mask([], size=(3, 2)).tolist() == [[False] * 3] * 2
    Image.new("L", (3, 3)).save(tmp_path / "c.png")
    with pytest.raises(ImageError, match=r"c\.png: mask is 3x3 .* 3x2"):
        union_mask([*paths, tmp_path / "c.png"], size=(3, 2))
    with pytest.raises(ImageError, match="at least 1x1"):
        union_mask(paths, size=(0, 2))


def test_nearest_takes_pixel_centres():
    row = np.arange(4)[None]
    assert resize_nearest(row, (2, 1)).tolist() == [[1, 3]]
    assert resize_nearest(row, (8, 2)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2
