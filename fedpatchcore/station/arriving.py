"""The way in: content on the disk, then a row in the queue; the same image is the same row.

Of DICOM nothing is kept but the picture, under a number: not the file as it came, whose elements
are a patient's, and neither its name nor its folder's, which may be a patient's too. (What is drawn
into the picture itself stays there.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from pathlib import PurePosixPath

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert

from fedpatchcore.data.decoding import MAX_PIXELS
from fedpatchcore.data.dicom import DICOM_HEAD, DICOM_SUFFIXES, is_dicom
from fedpatchcore.data.dicom_plain import plain_dicom
from fedpatchcore.errors import ImageError, StationError
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Inspection, Seen
from fedpatchcore.station.uploads import kind_of
from fedpatchcore.texts import NAME, is_name, one_line
from fedpatchcore.web.moments import now

__all__ = ["Arrivals", "Busy"]


class Busy(StationError):
    """So many images wait already that no more are taken in; the caller comes again."""

    status = 503


class Arrivals:
    """Takes images in.

    Attributes:
        known: products of the bank in use; a folder of scans names no other, for it may be called
            after a patient.
        taken: told when an image waits.
    """

    def __init__(self, place: Place, settings: StationSettings) -> None:
        self.place, self.settings = place, settings
        told = settings.product_pattern
        self._pattern = re.compile(told) if told else None
        self.known: Callable[[], Container[str]] = tuple
        self.taken: Callable[[], None] = lambda: None

    def private(self, data: bytes, source: str) -> bool:
        """Whether this is DICOM, by its content or by its name."""
        return is_dicom(data) or PurePosixPath(source).suffix.lower() in DICOM_SUFFIXES

    def waiting(self) -> int:
        """Images in the queue."""
        with self.place.database.read() as session:
            found = select(func.count()).where(Inspection.state == "waiting")
            return session.scalar(found) or 0

    def product(self, source: str, told: str = "", *, private: bool = False) -> str:
        """The product of an image: as told, by its first folder, by its file's name, or as set.

        Raises:
            StationError: ``told`` cannot name a product.
        """
        if told:
            if not is_name(told):
                raise StationError(f"{one_line(told, 80)!r} cannot name a product")
            if private and told not in self.known():
                raise StationError("the bank in use knows no such product")
            return told
        found = self._named(source)
        return found if not private or found in self.known() else self.settings.product

    def _named(self, source: str) -> str:
        path = PurePosixPath(source)
        if len(path.parts) > 1 and is_name(path.parts[0]):
            return path.parts[0]
        if self._pattern and (found := self._pattern.search(path.name)):
            name = found["product"] or ""
            if is_name(name):
                return name
        return self.settings.product

    def take(
        self,
        data: bytes,
        source: str,
        product: str,
        *,
        stamp: str = "",
        urgent: bool = False,
        refused: str = "",
        private: bool = False,
    ) -> int:
        """Take an image in → its number; nothing of it is lost once this returns.

        Args:
            source: where it came from; with the content it says which image this is.
            stamp: of the file in the watched folder, so that it is not taken in again.
            refused: why it is not judged at all; empty: it is.
            private: its name is not kept, as of DICOM in any case.
            urgent: a caller waits for the verdict: it comes before those nobody waits for.

        Raises:
            StationError: the disk is full.
            Busy: too many wait already.
            ControlError: the data base cannot be written just now.
        """
        mark = self.place.mark(source)
        if private or self.private(data, source):
            source, data, refused = self._pictured(data, source, refused)
        if self.waiting() >= self.settings.most_waiting:
            raise Busy(
                f"{self.settings.most_waiting} images wait already: send this one again later"
            )
        with self.place.keeping:
            digest = self.place.keep(data)
            at = now()
            row = {
                "source": source,
                "digest": digest,
                "size": len(data),
                "product": product[:NAME],
                "arrived_at": at,
                "judged_at": at if refused else None,  # the line shows it as the last one
                "urgent": int(urgent),
                "state": "failed" if refused else "waiting",
                "begun": 0,
                "error": refused,
                "verdict": "",
                "regions": [],
                "why": [],
                "width": 0,
                "height": 0,
                "bank": "",
                "judged_by": "",
                "geometry": "",
                "said": "",
                "own": "",
                "threshold_by": "",
                "watched": 0,
            }
            with self.place.database.write() as session:
                session.execute(insert(Inspection).values(row).on_conflict_do_nothing())
                same = (Inspection.source == source) & (Inspection.digest == digest)
                number = session.scalar(select(Inspection.id).where(same))
                if stamp:
                    session.merge(Seen(source=mark, stamp=stamp))
        self.place.changed()
        self.taken()
        assert number is not None
        return number

    def _pictured(self, data: bytes, source: str, refused: str) -> tuple[str, bytes, str]:
        """Of DICOM: a name of ours, the picture alone, why it is refused."""
        name = f"dicom-{self.place.mark(data or source)}"
        if is_dicom(data) and not refused:
            try:
                most = min(MAX_PIXELS, round(self.settings.megapixels * 1e6))
                return name, plain_dicom(data, most), ""
            except (ImageError, MemoryError) as error:
                refused = one_line(error, 400) or "too large for this machine's memory"
        if kind_of(data[:DICOM_HEAD]) in ("", "dicom"):  # what else is in a torso is not kept
            data, refused = b"", refused or "no DICOM, whatever its name says; remove it"
        return name, data, refused
