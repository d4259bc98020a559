"""Pillow behind one guard: a damaged file becomes an `ImageError`, every mode 8-bit RGB.

Internal to `fedpatchcore.data`; `fedpatchcore.data.images` documents the decisions.
"""

import stat
import struct
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image

from fedpatchcore.data.dicom import DICOM_HEAD, dicom_picture, is_dicom
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.errors import ImageError

__all__ = [
    "FORMATS",
    "JPEGS",
    "MAX_PIXELS",
    "checked",
    "decode_file",
    "decode_opened",
    "guarded",
    "image_to_rgb",
    "image_to_values",
    "orientation",
    "reason",
    "require_file",
    "upright",
    "white_is_zero",
]

MAX_PIXELS = 100_000_000
"""Largest width × height decoded; a header that claims more is refused before decoding."""

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # JPEG includes multi-picture MPO
JPEGS = frozenset({"JPEG", "MPO"})
_ALPHA_MODES = frozenset({"LA", "RGBA", "La", "RGBa", "PA"})
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339  # TIFF tags
_ORIENTATION = 274  # EXIF and TIFF tag
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_T = TypeVar("_T")


class _Quiet:
    """Decoders' warnings are off while any thread is inside.

    Filters are state of the whole process, so threads must not each save and restore them: the
    first one in adds a single filter and the last one out takes it away again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._added: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1 or self._added not in warnings.filters:
                warnings.filterwarnings("ignore", module=r"(PIL|pydicom|fedpatchcore\.data)\b")
                self._added = warnings.filters[0]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._added in warnings.filters:
                warnings.filters.remove(self._added)


_quiet = _Quiet()


def guarded(decode: Callable[[], _T], name: object) -> _T:
    """Run a decoder: no warning leaks, whatever a decoder raises becomes an `ImageError`."""
    with _quiet:
        try:
            return decode()
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error.__cause__
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name}: more than {MAX_PIXELS} pixels; scale it down") from error
        except Image.UnidentifiedImageError as error:
            raise ImageError(
                f"{name}: not an 8- or 16-bit PNG, JPEG, BMP, TIFF, WebP or DICOM image; "
                "convert or remove it"
            ) from error
        except MemoryError as error:
            raise ImageError(f"{name}: too large for this machine's memory") from error
        except FileNotFoundError as error:
            raise ImageError(f"{name}: no such file; check the path") from error
        except Exception as error:  # decoders of damaged files raise nearly anything
            verb = "read" if isinstance(error, OSError) and error.errno else "decoded"
            raise ImageError(
                f"{name}: cannot be {verb} ({reason(error)}); restore or remove it"
            ) from error


def decode_file(
    path: Path,
    prepare: Callable[[Image.Image], object] = lambda image: None,
    given: ValueRange | None = None,
) -> Image.Image:
    """Open and load → PIL image in its own mode, orientation not yet applied.

    ``prepare`` sees the image opened and found acceptable, before a pixel is decoded. Of DICOM
    comes the picture, 8-bit grey or RGB: its black and white are ``given``, or the file's own.
    """
    require_file(path)
    with path.open("rb") as file:
        return decode_opened(file, prepare, given)


def decode_opened(
    file: BinaryIO,
    prepare: Callable[[Image.Image], object] = lambda image: None,
    given: ValueRange | None = None,
) -> Image.Image:
    """`decode_file` of a file that is open, and stays open."""
    head = file.read(DICOM_HEAD)
    file.seek(0)
    if is_dicom(head):
        return checked(dicom_picture(file.read(), MAX_PIXELS, given), prepare)
    return checked(Image.open(file, formats=FORMATS), prepare)


def checked(
    image: Image.Image, prepare: Callable[[Image.Image], object] = lambda image: None
) -> Image.Image:
    """Refuse impossible sizes on the header alone, then decode all pixels."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width}x{height}); remove it")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width}x{height} is more than {MAX_PIXELS} pixels; scale it down or remove it"
        )
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR) == 2 and max(tags.get(_BITS, (1,))) > 8:
        raise ImageError("16-bit colour in separate planes is not supported; save it interleaved")
    prepare(image)
    image.load()
    return image


def require_file(path: Path) -> None:
    """Raise unless the path is a regular, non-empty file (a pipe would block for ever)."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file; give an image file")
    if status.st_size == 0:
        raise ImageError("file is empty (0 bytes); restore or remove it")


def reason(error: BaseException) -> str:
    """One line of an exception, without the paths that OSError adds."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8 (of TIFF Pillow has undone it already); damaged EXIF: 1."""
    try:
        found = image.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return 1
    return found if isinstance(found, int) and found in _TRANSPOSE else 1


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation."""
    method = _TRANSPOSE.get(orientation(image))
    return image if method is None else image.transpose(method)


def image_to_rgb(image: Image.Image) -> Image.Image:
    """Loaded PIL image of any supported mode → upright "RGB"."""
    if 2 in getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ()):
        raise ImageError(
            "signed samples have no fixed range; state it as value-range, or save them unsigned"
        )
    samples = _samples_16(image)
    if samples is not None:
        grey = Image.fromarray((samples >> 8).astype(np.uint8))
        return grey.convert("RGB")
    image = upright(image)
    _refuse_unbounded(image)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else _stripped(image)


def _stripped(image: Image.Image) -> Image.Image:
    """A plain image that owns its pixels: no file handle, no metadata."""
    return Image.frombytes("RGB", image.size, image.tobytes())


def _samples_16(image: Image.Image) -> np.ndarray | None:
    """Upright 16-bit grey samples, uint16 [H, W]; None for other modes.

    Pillow leaves TIFF "white is zero" samples as stored at this depth; they are inverted here.
    Old versions read 16-bit PNG as 32-bit integers.
    """
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if not sixteen:
        return None
    samples = np.asarray(upright(image)).astype(np.uint16)
    return np.uint16(65535) - samples if white_is_zero(image) else samples


def white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF says that its smallest value is white."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(_PHOTOMETRIC) == 0


def _refuse_unbounded(image: Image.Image) -> None:
    """Refuse sample types without a fixed full range."""
    if image.mode == "F":
        raise ImageError(
            "floating-point samples have no fixed range; state it as value-range, or save as 16-bit"
        )
    if image.mode.startswith("I"):
        raise ImageError(
            "32-bit samples have no fixed range; state it as value-range, or save as 8- or 16-bit"
        )


def image_to_values(image: Image.Image) -> np.ndarray:
    """Loaded PIL image → int64 [H, W] of raw values, invisible pixels 0."""
    samples = _samples_16(image)
    if samples is not None:
        return samples.astype(np.int64)
    image = upright(image)
    if image.mode == "F":
        raise ImageError("a floating-point mask is ambiguous; save it as 8-bit")
    if image.mode.startswith("I") or image.mode == "L":
        return np.asarray(image).astype(np.int64)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        return np.where(rgba[..., 3] > 0, rgba[..., :3].max(axis=2), 0).astype(np.int64)
    return np.asarray(image.convert("RGB")).max(axis=2).astype(np.int64)
