"""How samples are stored in a file that Pillow has opened, before it makes 8 bits of them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from fedpatchcore.data.decoding import FORMATS, guarded
from fedpatchcore.errors import ImageError

__all__ = ["pages_in", "pages_of", "raw_mode", "sample_kind"]

_SAMPLE_FORMAT = 339  # TIFF tag


def raw_mode(image: Image.Image) -> str:
    """Pillow's word for the samples in the file (``RGB;16B``), known until they are decoded."""
    args = image.tile[0][3] if getattr(image, "tile", None) else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def sample_kind(image: Image.Image) -> tuple[int, str]:
    """Bits of a sample, and "unsigned", "signed" or "float"; of an image not yet decoded."""
    formats = getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ())
    if image.mode == "F":
        return 32, "float"
    kind = "signed" if 2 in formats else "unsigned"
    if ";16" in raw_mode(image) or image.mode.startswith("I;16"):
        return 16, kind
    if image.mode == "I":
        return (16, kind) if image.format == "PNG" else (32, kind)
    return (1 if image.mode == "1" else 8), kind


def pages_of(image: Image.Image) -> int:
    """Pages or frames of an opened file; 1 where they cannot be counted, nor used then.

    What a camera adds to a JPEG file (MPO) is a preview or a gain map of the same shot.
    """
    if image.format == "MPO":
        return 1
    try:
        return getattr(image, "n_frames", 1)
    except (OSError, SyntaxError, ValueError, LookupError, EOFError):
        return 1


def pages_in(path: Path) -> int:
    """Pages or frames of a file, of which no pixel is decoded; 1 of one that is no image."""

    def opened() -> int:
        with Image.open(path, formats=FORMATS) as image:
            return pages_of(image)

    try:
        return guarded(opened, path)
    except ImageError:
        return 1
