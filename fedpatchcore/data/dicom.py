"""DICOM files → pictures: rescale, window, MONOCHROME1; of a patient nothing is read.

Only elements that say how samples become a picture are read (`READ`); all others, whatever they
hold, are skipped. No text of a file stands in an error. `pydicom` reads and decodes
(``pip install 'fedpatchcore[dicom]'``).

Decisions
- Samples go through rescale slope and intercept, then through ``value-range`` where it is stated
  (in these units, of CT in Hounsfield units), else through the file's first window, else from the
  lowest value that its bits can hold to the highest. What lies outside is black or white.
- The window functions are those of the standard, PS3.3 C.11.2.1: LINEAR, LINEAR_EXACT, SIGMOID.
- MONOCHROME1 (the lowest value is white) is inverted. Padding is a value like any other.
- Refused by name: several frames, deflated files, compressions that Pillow does not decode,
  palettes, lookup tables, floating-point and 1-bit samples, text burnt into the picture.

Sizes are checked by the header before a sample is decoded, and the header of a compressed frame
must say the same. Errors raised: `ImageError`, one line that names no value of the file's texts.
"""

from __future__ import annotations

import io
import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from fedpatchcore.data.dicom_levels import Window, shares
from fedpatchcore.data.dicom_syntax import NATIVE, PACKED, RLE, UNPACK, transfer_syntax
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.errors import ImageError

__all__ = [
    "DICOM_HEAD",
    "DICOM_SUFFIXES",
    "Scan",
    "dicom_picture",
    "dicom_size",
    "is_dicom",
    "read_scan",
]

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
DICOM_HEAD = 132
"""Bytes of a file by which `is_dicom` knows it."""

READ = (
    ("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames")
    + ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    + ("RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth", "VOILUTFunction")
    + ("ModalityLUTSequence", "VOILUTSequence", "BurnedInAnnotation")
    + ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    + ("FloatPixelData", "DoubleFloatPixelData", "PixelData")
)
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class Scan:
    """The samples of a file, and how they become a picture.

    Attributes:
        samples: int32 ``[H, W]`` as stored, or uint8 ``[H, W, 3]``, RGB.
        bits: that a stored sample may fill.
        signed: stored samples may be negative.
        inverted: the lowest value is white.
    """

    samples: np.ndarray
    bits: int = 8
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    window: Window | None = None
    inverted: bool = False

    def picture(self, value_range: ValueRange | None = None) -> Image.Image:
        """8-bit grey, or RGB. ``value_range``: black and white after the rescale."""
        if self.samples.ndim == 3:
            return Image.fromarray(self.samples)
        values = self.samples * self.slope + self.intercept
        if value_range:
            told = (values - value_range.low) / (value_range.high - value_range.low)
        elif self.window:
            told = shares(values, self.window)
        else:
            low, high = sorted(one * self.slope + self.intercept for one in self._ends())
            told = (values - low) / (high - low)
        levels = np.rint(255 * told.clip(0, 1)).astype(np.uint8)
        return Image.fromarray(255 - levels if self.inverted else levels)

    def _ends(self) -> tuple[int, int]:
        """The lowest and the highest sample that its bits can hold."""
        if self.signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with these bytes (`DICOM_HEAD` of them) says it is DICOM."""
    return head[128:132] == b"DICM"


def dicom_picture(data: bytes, most: int, value_range: ValueRange | None = None) -> Image.Image:
    """The picture of a file's bytes, mode "L" or "RGB". Raises ImageError as `read_scan`."""
    return read_scan(data, most).picture(value_range)


def dicom_size(data: bytes) -> tuple[int, int]:
    """Width and height, as the header says. Raises ImageError."""
    return _carefully(lambda: _size(_elements(data, pixels=False)[0]))


def read_scan(data: bytes, most: int) -> Scan:
    """The samples of a file's bytes.

    Args:
        most: pixels; a header that claims more is refused before a sample is decoded.

    Raises:
        ImageError: no DICOM, damaged, too large, of a kind that is not taken (see above), or
            `pydicom` is not installed.
    """
    return _carefully(lambda: _scan(*_elements(data), most))


def _carefully(read: Any) -> Any:
    """Texts of a file may stand in whatever is raised of it: its kind alone is told."""
    try:
        return read()
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        kind = type(error).__name__
    raise ImageError(f"cannot be decoded as DICOM ({kind}); restore or remove it")


def _elements(data: bytes, *, pixels: bool = True) -> tuple[Any, str]:
    """What `READ` names, and the transfer syntax."""
    try:
        from pydicom.filereader import read_dataset
        from pydicom.tag import Tag
    except ImportError:
        raise ImageError("DICOM takes an extra: pip install 'fedpatchcore[dicom]'") from None
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it quotes what it finds
    if not is_dicom(data):
        raise ImageError("no DICOM file: it lacks the mark DICM; export it as DICOM Part 10")
    syntax, begin = transfer_syntax(data)
    implicit, little = NATIVE.get(syntax, (False, True))
    stream = io.BytesIO(data)
    stream.seek(begin)
    stop = None if pixels else (lambda tag, kind, length: tag >= 0x7FE00008)
    tags = [Tag(name) for name in READ]
    told = read_dataset(stream, implicit, little, stop_when=stop, specific_tags=tags)
    return told, syntax


def _size(told: Any) -> tuple[int, int]:
    return int(told.Columns), int(told.Rows)


def _scan(told: Any, syntax: str, most: int) -> Scan:
    width, height = _size(told)
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width}x{height}); remove it")
    if width * height > most:
        raise ImageError(f"{width}x{height} is more than {most} pixels; scale it down or remove it")
    if (frames := int(told.get("NumberOfFrames") or 1)) > 1:
        raise ImageError(f"holds {frames} frames; export it with one frame a file")
    kind = str(told.PhotometricInterpretation)
    _refuse(told, kind)
    bits, allocated = int(told.BitsStored), int(told.BitsAllocated)
    signed = int(told.PixelRepresentation) == 1
    if allocated not in (8, 16, 32) or not 1 < bits <= allocated:
        raise ImageError(f"{bits} of {allocated} bits a sample are not taken; export 8 or 16 bits")
    if int(told.get("HighBit", bits - 1)) != bits - 1:
        raise ImageError("samples do not fill the lowest bits; export it anew")
    if kind in COLOUR and (bits, allocated, signed) != (8, 8, False):
        raise ImageError("colour of more than 8 bits is not taken; export 8 bits")
    samples = _decoded(told, syntax, width, height)
    if kind in COLOUR:
        return Scan(np.ascontiguousarray(samples.reshape(height, width, 3), dtype=np.uint8))
    values = samples.reshape(height, width).astype(np.int64) & (2**bits - 1)  # no overlays above
    if signed:
        values -= (values >> (bits - 1)) << bits
    where = _groups(told)
    slope, intercept = _number(where, "RescaleSlope", 1.0), _number(where, "RescaleIntercept", 0.0)
    if slope == 0:
        raise ImageError("its rescale slope is 0; export it anew")
    kept = values.astype(np.int64 if bits > 31 else np.int32)
    return Scan(kept, bits, signed, slope, intercept, _window(where), kind == "MONOCHROME1")


def _refuse(told: Any, kind: str) -> None:
    """What is in it that is not taken."""
    if str(told.get("BurnedInAnnotation") or "").upper() == "YES":
        raise ImageError("says that text is burnt into the picture; export it without annotations")
    if "FloatPixelData" in told or "DoubleFloatPixelData" in told:
        raise ImageError("floating-point samples are not taken; export it with rescale slope")
    if kind == "PALETTE COLOR":
        raise ImageError("its colours come from a palette; export it as RGB")
    if kind not in GREY and kind not in COLOUR:
        raise ImageError("its photometric interpretation is none that is taken; export MONOCHROME2")
    if told.get("ModalityLUTSequence"):
        raise ImageError("its values come from a lookup table; export it with rescale slope")
    if int(told.get("SamplesPerPixel", 1)) != (1 if kind in GREY else 3):
        raise ImageError("its samples a pixel and its colours do not fit; export it anew")


def _decoded(told: Any, syntax: str, width: int, height: int) -> np.ndarray:
    """Samples as the file has them; YBR as RGB."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    if "PixelData" not in told:
        raise ImageError("holds no pixels; remove it")
    if syntax in PACKED and syntax != RLE:
        frame = get_frame(told.PixelData, 0, number_of_frames=1)
        with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as opened:
            if opened.size != (width, height):
                raise ImageError("its compressed frame is of another size than it says; remove it")
    decoder = get_decoder(UID(syntax))
    if not decoder.is_available:
        raise ImageError(f"compressed ({PACKED[syntax]}), which is not decoded here; {UNPACK}")
    told.file_meta = FileMetaDataset()
    told.file_meta.TransferSyntaxUID = UID(syntax)
    return decoder.as_array(told, index=0)[0]


def _groups(told: Any) -> list[Any]:
    """Where rescale and window may stand: of enhanced files in the groups of their frame."""
    found = [told]
    for name in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for item in list(told.get(name) or [])[:1]:
            for inner in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                found += list(item.get(inner) or [])[:1]
    return found


def _first(where: list[Any], name: str) -> Any:
    """The first of the values of an element; None without."""
    for one in where:
        value = one.get(name)
        if value is not None and value != "":
            many = not isinstance(value, str) and hasattr(value, "__len__")
            return (value[0] if len(value) else None) if many else value
    return None


def _number(where: list[Any], name: str, default: float) -> float:
    value = _first(where, name)
    told = default if value is None else float(value)
    if not math.isfinite(told):
        raise ImageError("its rescale or window is no number; export it anew")
    return told


def _window(where: list[Any]) -> Window | None:
    if _first(where, "WindowWidth") is None or _first(where, "WindowCenter") is None:
        if any(one.get("VOILUTSequence") for one in where):
            raise ImageError("it is shown by a lookup table; state value-range, or export a window")
        return None
    shape = str(_first(where, "VOILUTFunction") or "LINEAR")
    return Window.of(_number(where, "WindowCenter", 0.0), _number(where, "WindowWidth", 1.0), shape)
