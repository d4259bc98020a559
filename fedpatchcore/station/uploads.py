"""Images that come in over HTTP: bounded in size, rate and time, and answered when judged."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future

from starlette.requests import Request

from fedpatchcore.data.dicom import DICOM_HEAD, is_dicom
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.web.refusals import Refused

__all__ = ["Rates", "Waiting", "kind_of", "read_image"]

SECONDS = 60.0  # in which an image has to come
MARKS = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"BM": "bmp",
}


def kind_of(data: bytes) -> str:
    """The format of an image by its first `DICOM_HEAD` bytes; empty for none that is taken in."""
    if is_dicom(data):
        return "dicom"
    for mark, kind in MARKS.items():
        if data.startswith(mark):
            return kind
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


async def read_image(request: Request, settings: StationSettings) -> bytes:
    """The body of a request.

    Raises:
        Refused: 408 it came too slowly; 411 without a length; 413 too large; 415 no image.
    """
    told, most = request.headers.get("content-length", ""), round(settings.largest_mb * 1e6)
    if not told.isdigit():
        raise Refused(411, "the request names no content-length")
    if int(told) > most:
        raise Refused(413, f"at most {settings.largest_mb:g} MB are taken in (largest-mb)")
    data = bytearray()

    async def read() -> None:
        async for piece in request.stream():
            data.extend(piece)
            if len(data) > most:
                raise Refused(413, f"at most {settings.largest_mb:g} MB are taken in")

    try:
        await asyncio.wait_for(read(), SECONDS)
    except TimeoutError:
        raise Refused(408, f"the image did not come within {SECONDS:.0f} seconds") from None
    if not kind_of(bytes(data[:DICOM_HEAD])):
        raise Refused(
            415,
            "the body is no PNG, JPEG, TIFF, BMP, WebP or DICOM: send the file itself, not a form",
        )
    return bytes(data)


class Rates:
    """So many a minute of each caller, in bursts of at most as many."""

    def __init__(self, a_minute: int, kept: int = 1000) -> None:
        self.a_minute, self.kept = a_minute, kept
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, who: str) -> None:
        """One more. Raises Refused (429) for one too many."""
        moment = time.monotonic()
        with self._lock:
            left, at = self._left.pop(who, (float(self.a_minute), moment))
            left = min(float(self.a_minute), left + (moment - at) * self.a_minute / 60)
            self._left[who] = (left - 1 if left >= 1 else left, moment)
            while len(self._left) > self.kept:
                self._left.popitem(last=False)
        if left < 1:
            raise Refused(429, f"more than {self.a_minute} images a minute (requests-a-minute)")


class Waiting:
    """Callers that wait for a verdict, by the image's number."""

    def __init__(self) -> None:
        self._open: dict[int, list[Future]] = {}
        self._lock = threading.Lock()

    def register(self, number: int) -> Future:
        """A promise that is kept when the image is judged, or cannot be."""
        made: Future = Future()
        with self._lock:
            self._open.setdefault(number, []).append(made)
        return made

    def forget(self, number: int, made: Future) -> None:
        """The caller waits no longer."""
        with self._lock:
            if found := self._open.get(number):
                found[:] = [one for one in found if one is not made]
                if not found:
                    del self._open[number]

    def tell(self, number: int) -> None:
        """It is judged, or cannot be."""
        with self._lock:
            found = self._open.pop(number, [])
        for one in found:
            if not one.done():
                one.set_result(None)
