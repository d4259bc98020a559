"""Whether a file that somebody is still writing is whole: by its own end, where it tells one."""

from __future__ import annotations

__all__ = ["ends_itself"]

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TAIL = 4096  # bytes behind a JPEG's end that cameras append


def ends_itself(data: bytes) -> bool | None:
    """True: the file says that it ends here; False: that it does not; None: it does not tell.

    PNG ends with its IEND chunk, JPEG with an end-of-image marker (a few bytes may follow), BMP and
    WebP name their length. TIFF tells nothing of the kind.
    """
    if data.startswith(PNG):
        return data[-8:-4] == b"IEND"
    if data.startswith(JPEG):
        return b"\xff\xd9" in data[-TAIL:]
    if data.startswith(b"BM") and len(data) >= 14:
        told = int.from_bytes(data[2:6], "little")
        return None if told < 14 else len(data) >= told  # some writers leave it 0
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if not data.strip(b"\0"):
        return False
    return None
