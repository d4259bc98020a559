"""Image files of a few pixels, also such as Pillow does not write, and what is read of them."""

import struct
import zlib

import numpy as np
from PIL import Image

__all__ = ["RED_BLUE", "pixels", "png16", "write_grey"]

RED_BLUE = np.array([[[250, 10, 20], [250, 10, 20]], [[10, 20, 250], [10, 20, 250]]], np.uint8)


def write_grey(path, level=128, size=(4, 4)):
    """Write a grey picture, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)
    return path


def png16(path, samples):
    """Write 16-bit PNG samples [H, W, C], C = 1 grey, 2 grey+alpha, 3 RGB, 4 RGBA."""
    height, width, channels = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def pixels(read):
    """Of a picture that was read: always RGB."""
    assert read.mode == "RGB"
    return np.asarray(read)
