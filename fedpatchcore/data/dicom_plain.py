"""A DICOM file with nothing in it but its picture: what a station keeps of what it was given.

Written from the decoded samples, uncompressed, without a time or a version: the same picture is the
same bytes. Of the original stay samples, rescale, window and whether black is white.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from fedpatchcore.data.dicom import Scan, read_scan

__all__ = ["plain_dicom", "written"]

EXPLICIT = "1.2.840.10008.1.2.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture image
OURS = "2.25."  # of numbers that anybody may make (PS3.5 B.2)


def plain_dicom(data: bytes, most: int) -> bytes:
    """The bytes of such a file. Raises ImageError as `fedpatchcore.data.dicom.read_scan`."""
    return written(read_scan(data, most))


def written(scan: Scan, patient: str = "") -> bytes:
    """A file of a scan; read again it is the same scan.

    Args:
        patient: a name that somebody made up, as phantoms have one; empty: none.
    """
    grey = scan.samples.ndim == 2
    height, width = scan.samples.shape[:2]
    size = 8 if scan.bits <= 8 else 16 if scan.bits <= 16 else 32
    kind = np.dtype(f"<{'i' if scan.signed else 'u'}{size // 8}")
    pixels = scan.samples.astype(kind).tobytes()
    number = int.from_bytes(hashlib.sha256(pixels).digest()[:15], "big")
    made = _text(0x00080016, b"UI", CAPTURE) + _text(0x00080018, b"UI", f"{OURS}{number}")
    if patient:
        made += _text(0x00100010, b"PN", patient) + _text(0x00100020, b"LO", patient)
    made += _short(0x00280002, 1 if grey else 3)
    told = ("MONOCHROME1" if scan.inverted else "MONOCHROME2") if grey else "RGB"
    made += _text(0x00280004, b"CS", told)
    if not grey:
        made += _short(0x00280006, 0)
    made += _short(0x00280010, height) + _short(0x00280011, width)
    made += _short(0x00280100, size) + _short(0x00280101, scan.bits)
    made += _short(0x00280102, scan.bits - 1) + _short(0x00280103, int(scan.signed))
    if grey:
        if scan.window:
            made += _text(0x00281050, b"DS", _decimal(scan.window.centre))
            made += _text(0x00281051, b"DS", _decimal(scan.window.width))
        made += _text(0x00281052, b"DS", _decimal(scan.intercept))
        made += _text(0x00281053, b"DS", _decimal(scan.slope))
        if scan.window:
            made += _text(0x00281056, b"CS", scan.window.shape)
    made += _element(0x7FE00010, b"OW" if size > 8 else b"OB", pixels)
    meta = _element(0x00020001, b"OB", b"\0\1") + _text(0x00020002, b"UI", CAPTURE)
    meta += _text(0x00020003, b"UI", f"{OURS}{number}") + _text(0x00020010, b"UI", EXPLICIT)
    meta += _text(0x00020012, b"UI", f"{OURS}1")
    head = _element(0x00020000, b"UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + head + meta + made


def _element(tag: int, kind: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    name = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    if kind in (b"OB", b"OW"):
        return name + b"\0\0" + struct.pack("<I", len(value)) + value
    return name + struct.pack("<H", len(value)) + value


def _text(tag: int, kind: bytes, value: str) -> bytes:
    pad = b"\0" if kind == b"UI" else b" "
    told = value.encode()
    return _element(tag, kind, told + pad * (len(told) % 2))


def _short(tag: int, value: int) -> bytes:
    return _element(tag, b"US", struct.pack("<H", value))


def _decimal(value: float) -> str:
    """At most 16 characters, as a decimal string may have."""
    exact = repr(value)
    return exact if len(exact) <= 16 else f"{value:.8e}"
