"""Image files, masks and in-memory pictures → 8-bit RGB, the same way at every site.

Scores of a federation are absolute distances, so a pixel must mean the same everywhere:
nothing here looks at the contents of an image to scale it.

Decisions
- 16-bit samples (grey or colour) keep their high byte: ``v >> 8``, so 0 → 0 and 65535 → 255,
  less than one grey level from ``v * 255 / 65535`` and equal for grey and colour files. A 12-bit
  camera that leaves the upper bits empty gives dark pictures: its range must be stated
  (`fedpatchcore.data.value_range`), for all sites alike.
- Transparency is composited on white; opaque pixels are unchanged.
- EXIF (and TIFF) orientation is applied; unreadable EXIF data are ignored.
- Of several frames or pages the first is used; colour profiles are ignored.
- Floating-point, 32-bit and signed TIFF have no fixed range: refused unless one is stated.
- The contents, not the suffix, decide the format; only PNG, JPEG, BMP, TIFF, WebP and DICOM
  decode (`fedpatchcore.data.dicom` has the decisions of the last).

Errors raised: `ImageError` naming the file and the reason; `DataError` from `list_images`.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedpatchcore.data.decoding import (
    JPEGS,
    MAX_PIXELS,
    checked,
    decode_file,
    guarded,
    image_to_rgb,
    image_to_values,
    reason,
)
from fedpatchcore.data.dicom import DICOM_SUFFIXES
from fedpatchcore.data.ranged import as_levels, file_to_rgb, opened_to_rgb
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.errors import DataError, ImageError

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "list_images",
    "load_image",
    "load_mask",
    "load_mask_values",
    "resize_nearest",
    "to_pil",
    "union_mask",
]

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", *DICOM_SUFFIXES}
)
"""Suffixes of files taken for images; compared in lower case."""


def load_image(path: str | os.PathLike[str], value_range: ValueRange | None = None) -> Image.Image:
    """Decode an image file fully → PIL image, mode "RGB", upright.

    Args:
        value_range: black and white of samples of more than 8 bits; None: of the full 16.

    Raises:
        ImageError: not a regular readable file, empty, not an image, truncated, of an
            unsupported sample type, of zero or absurd size.
    """
    path = Path(path)
    if value_range:
        return guarded(lambda: file_to_rgb(path, value_range), path)
    return guarded(lambda: image_to_rgb(decode_file(path)), path)


def load_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Decode a mask file → bool [H, W], True = defect.

    A pixel is a defect if any visible channel is not zero (16-bit values are not scaled
    first). JPEG masks, which are lossy, are cut at half range instead.

    Raises:
        ImageError: as `load_image`.
    """
    return load_mask_values(path) != 0


def load_mask_values(path: str | os.PathLike[str]) -> np.ndarray:
    """Decode a mask file → int64 [H, W] of raw values; of colour masks the largest channel.

    For data sets in which the value names the kind of defect. Lossy JPEG masks are cut at
    half range and hold 0 or 255 only.

    Raises:
        ImageError: as `load_image`; also for a floating-point mask.
    """
    path = Path(path)

    def decode() -> np.ndarray:
        image = decode_file(path)
        lossy = image.format in JPEGS
        values = image_to_values(image)
        return np.where(values > 127, 255, 0) if lossy else values

    return guarded(decode, path)


def union_mask(paths: Iterable[str | os.PathLike[str]], size: tuple[int, int]) -> np.ndarray:
    """Union of the masks of one image → bool [H, W]; all False without masks.

    Args:
        paths: mask files of one image; they must agree in size.
        size: (W, H) of the result; a union of another size is resampled to it by nearest
            neighbour.

    Raises:
        ImageError: a mask cannot be read, or the masks differ in size.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"mask size must be at least 1x1 pixel, got {width}x{height}")
    union: np.ndarray | None = None
    for path in paths:
        mask = load_mask(path)
        if union is None:
            union = mask
        elif mask.shape != union.shape:
            raise ImageError(
                f"{path}: mask is {mask.shape[1]}x{mask.shape[0]} but the image's other masks are "
                f"{union.shape[1]}x{union.shape[0]}; masks of one image must agree in size"
            )
        else:
            union |= mask
    if union is None:
        return np.zeros((height, width), dtype=np.bool_)
    return resize_nearest(union, size)


def resize_nearest(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resampling at pixel centres, [H, W] → [size[1], size[0]], any dtype."""
    width, height = size
    if array.shape == (height, width):
        return array
    rows = (2 * np.arange(height) + 1) * array.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * array.shape[1] // (2 * width)
    return array[rows[:, None], columns]


def to_pil(obj: Any, value_range: ValueRange | None = None) -> Image.Image:
    """Any supported picture → PIL image, mode "RGB".

    Args:
        obj: one of
            - path or str: as `load_image`;
            - PIL image: any mode `load_image` can read; its EXIF orientation is applied;
            - numpy array, channels last: [H, W], [H, W, 1] or [H, W, 3];
            - torch tensor, channels first: [H, W], [1, H, W] or [3, H, W], any device.
            Arrays and tensors hold uint8, uint16 (high byte kept) or floats in [0, 1]
            (rounded to the nearest of 256 levels). Normalised tensors are refused, for their
            mean and spread are unknown here.
        value_range: as `load_image`; also of uint16 arrays and tensors, never of floats.

    Raises:
        ImageError: another type, shape or dtype, an empty picture, NaN, or floats outside
            [0, 1].
    """
    if isinstance(obj, (str, os.PathLike)):
        return load_image(obj, value_range)
    if isinstance(obj, Image.Image):
        name = getattr(obj, "filename", "") or "PIL image"
        if value_range:
            return guarded(lambda: opened_to_rgb(checked(obj), value_range), name)
        return guarded(lambda: image_to_rgb(checked(obj)), name)
    if isinstance(obj, np.ndarray):
        return Image.fromarray(_array_to_rgb(obj, "numpy array", value_range))
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(obj, torch.Tensor):
        return Image.fromarray(_array_to_rgb(_tensor_to_array(obj), "torch tensor", value_range))
    raise ImageError(
        f"cannot read an image from {type(obj).__name__}; "
        "give a path, a PIL image, a numpy array or a torch tensor"
    )


def list_images(folder: str | os.PathLike[str], recursive: bool = False) -> tuple[Path, ...]:
    """Image files of a folder by suffix, sorted by path; hidden files and folders are ignored.

    Links are followed, but not to a folder that is being listed already.

    Raises:
        DataError: the folder is missing, not a folder or not readable.
    """
    return tuple(sorted(_listed(Path(folder), recursive, ()), key=lambda path: path.as_posix()))


def _listed(folder: Path, recursive: bool, above: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir():
                found.append(path)
            elif recursive and path.is_dir() and (real := os.path.realpath(path)) not in above:
                here = above or (os.path.realpath(folder),)
                found.extend(_listed(path, True, (*here, real)))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no such folder; check the path") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder}: is a file; give the folder that holds the images") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({reason(error)})") from error
    return found


def _tensor_to_array(tensor: Any) -> np.ndarray:
    """Torch tensor, channels first → numpy array, channels last."""
    shape = tuple(tensor.shape)
    if tensor.ndim == 3 and shape[0] not in (1, 3):
        hint = "; use tensor.permute(2, 0, 1)" if shape[2] in (1, 3) else ""
        raise ImageError(f"torch tensor of shape {shape}: expected [3, H, W] or [1, H, W]{hint}")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # bfloat16 has no numpy counterpart
    array = tensor.numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _array_to_rgb(array: np.ndarray, name: str, value_range: ValueRange | None) -> np.ndarray:
    """Array [H, W], [H, W, 1] or [H, W, 3] → contiguous uint8 [H, W, 3]."""
    shape = array.shape
    if array.ndim == 3 and shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        expected = "[H, W], [H, W, 1] or [H, W, 3]"
        raise ImageError(f"{name} of shape {shape}: expected one image {expected}, channels last")
    if array.size == 0:
        raise ImageError(f"{name} of shape {shape} has no pixels")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(f"{name} of shape {shape} is more than {MAX_PIXELS} pixels; scale it down")
    if value_range and array.dtype == np.uint16:
        pixels = guarded(lambda: as_levels(array, value_range), name)
    else:
        pixels = _to_uint8(array, name)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels)


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    """uint8, uint16 or float in [0, 1] → uint8, by fixed rules."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{name} of dtype {array.dtype}: expected uint8, uint16 or float in [0,1]")
    if not np.isfinite(array).all():
        raise ImageError(f"{name} holds NaN or infinite values")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"{name} has values in [{low:g}, {high:g}]: floats must lie in [0, 1]; "
            "undo any normalisation or convert to uint8"
        )
    return np.rint(array * 255).astype(np.uint8)
