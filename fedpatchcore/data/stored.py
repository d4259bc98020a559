"""How samples are stored in a file that Pillow has opened, before it makes 8 bits of them."""

from __future__ import annotations

from PIL import Image

__all__ = ["raw_mode", "sample_kind"]

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
