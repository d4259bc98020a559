"""How a DICOM file is packed: its transfer syntax, read from the file's own head."""

from __future__ import annotations

from fedpatchcore.errors import ImageError

__all__ = ["NATIVE", "PACKED", "RLE", "UNPACK", "transfer_syntax"]

HEAD = 132
NATIVE = {  # transfer syntax → (implicit value representations, little-endian)
    "1.2.840.10008.1.2": (True, True),
    "1.2.840.10008.1.2.1": (False, True),
    "1.2.840.10008.1.2.2": (False, False),
}
RLE = "1.2.840.10008.1.2.5"
PACKED = {  # compressed, and decoded by what is installed with pydicom
    RLE: "RLE",
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.51": "JPEG, 12 bits",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
OTHERS = {
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
}
LONG = (b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV")
UNPACK = "store it uncompressed (dcmconv, gdcmconv --raw)"


def transfer_syntax(data: bytes) -> tuple[str, int]:
    """The transfer syntax, and where what follows the head begins.

    Raises:
        ImageError: one that is not decoded.
    """
    at, found = HEAD, ""
    while data[at : at + 2] == b"\2\0" and at + 8 <= len(data):
        if data[at + 4 : at + 6] in LONG:
            length, begin = int.from_bytes(data[at + 8 : at + 12], "little"), at + 12
        else:
            length, begin = int.from_bytes(data[at + 6 : at + 8], "little"), at + 8
        if data[at + 2 : at + 4] == b"\x10\0":
            found = data[begin : begin + min(length, 64)].rstrip(b"\0 ").decode("ascii", "replace")
        at = begin + length
    if found not in NATIVE and found not in PACKED:
        known = OTHERS.get(found, "in a way that is not known here")
        raise ImageError(f"compressed ({known}), which is not decoded; {UNPACK}")
    return found, at
