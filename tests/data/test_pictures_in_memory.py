"""Arrays, tensors and PIL images: the same picture in every form, anything else refused."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fedpatchcore.data.images import to_pil
from fedpatchcore.errors import ImageError
from tests.support.imagefiles import RED_BLUE, pixels


def test_the_same_picture_in_every_form(tmp_path):
    Image.fromarray(RED_BLUE).save(tmp_path / "a.png")
    unit = RED_BLUE / 255
    chw = torch.from_numpy(RED_BLUE).permute(2, 0, 1)
    forms = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(RED_BLUE),
        Image.open(tmp_path / "a.png"),
        RED_BLUE,
        RED_BLUE.astype(np.uint16) * 257,
        unit,
        unit.astype(np.float32),
        unit[::-1][::-1],
        chw,
        chw.float() / 255,
        (chw.double() / 255).requires_grad_(),
    ]
    for form in forms:
        assert pixels(to_pil(form)).tolist() == RED_BLUE.tolist(), type(form)
    grey = RED_BLUE[..., 0]
    for form in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        assert (pixels(to_pil(form)) == grey[..., None]).all()
    assert pixels(to_pil(torch.ones(3, 2, 2, dtype=torch.bfloat16))).min() == 255


def test_tensors_of_three_rows_are_channels_first_and_arrays_channels_last():
    cube = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert pixels(to_pil(cube)).tolist() == cube.tolist()
    assert pixels(to_pil(torch.from_numpy(cube))).tolist() == np.moveaxis(cube, 0, -1).tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01, 200.0])
@pytest.mark.parametrize("wrap", [np.asarray, lambda a: torch.from_numpy(a.transpose(2, 0, 1))])
def test_floats_outside_the_unit_range_are_refused(value, wrap):
    array = np.full((4, 4, 3), 0.5, np.float32)
    array[1, 2, 0] = value
    with pytest.raises(ImageError, match=r"NaN or infinite|\[0, 1\]"):
        to_pil(wrap(array))


@pytest.mark.parametrize(
    ("obj", "reason"),
    [
        (None, "NoneType"),
        ([[1, 2]], "list"),
        (b"bytes", "bytes"),
        (3.0, "float"),
        (np.zeros((2, 2, 4), np.uint8), "shape"),
        (np.zeros((3, 4, 4), np.uint8), "channels last"),
        (np.zeros((1, 4, 4, 3), np.uint8), "one image"),
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 4), np.int64), "dtype int64"),
        (np.zeros((4, 4), bool), "dtype bool"),
        (np.zeros((4, 4), complex), "dtype complex"),
        (np.array([["a"]]), "dtype"),
        (torch.zeros(4, 5, 3), r"permute\(2, 0, 1\)"),
        (torch.zeros(2, 3, 4, 4), "one image"),
        (torch.zeros(4, 4, dtype=torch.int64), "dtype int64"),
        (torch.zeros(3, 0, 4), "no pixels"),
        (Image.new("F", (2, 2)), "fixed range"),
        (Image.new("I", (2, 2)), "fixed range"),
    ],
)
def test_other_objects_are_refused(obj, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        to_pil(obj)
    assert "\n" not in str(caught.value)


def test_closed_and_truncated_pil_images_are_refused(tmp_path):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    with pytest.raises(ImageError):
        to_pil(Image.open(io.BytesIO(buffer.getvalue()[:-300])))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    with pytest.raises(ImageError, match=r"a\.png"):
        to_pil(image)


def test_result_shares_no_memory_with_the_input():
    source = Image.new("RGB", (2, 2), "red")
    to_pil(source).putpixel((0, 0), (0, 0, 0))
    assert source.getpixel((0, 0)) == (255, 0, 0)
    array = np.full((2, 2, 3), 7, np.uint8)
    to_pil(array).putpixel((0, 0), (0, 0, 0))
    assert (array == 7).all()
