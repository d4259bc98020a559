"""Good parts into the training folder: by a person's explicit step, so many a day, reversible."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sqlalchemy import func, select

from fedpatchcore.data.dicom import DICOM_HEAD
from fedpatchcore.errors import FedPatchCoreError, StationError
from fedpatchcore.files import write_atomically
from fedpatchcore.pictures.cases import file_stem
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Inspection, Taught
from fedpatchcore.station.uploads import kind_of
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import DAY, now

__all__ = ["Teaching"]

ENDS = {"jpeg": "jpg", "tiff": "tif", "dicom": "dcm"}


class Teaching:
    """What people gave to training."""

    def __init__(self, place: Place, settings: StationSettings) -> None:
        self.place, self.settings = place, settings

    def of(self, number: int) -> Taught | None:
        """The step by which this image lies in training; None if it does not."""
        with self.place.database.read() as session:
            mine = (Taught.inspection_id == number) & Taught.undone_at.is_(None)
            return session.scalars(select(Taught).where(mine)).first()

    def today(self) -> int:
        """Images given within the last 24 hours, those taken back among them."""
        with self.place.database.read() as session:
            found = select(func.count()).select_from(Taught).where(Taught.at > now() - DAY)
            return session.scalar(found) or 0

    def give(self, actor: Actor, number: int, why: str) -> Path:
        """Copy a part that a person called good into the site's training folder.

        Raises:
            StationError: nobody called it good, it lies there already, no reason is told, the day's
                number is reached, or the folder cannot be written.
        """
        if not self.settings.training:
            raise StationError('no training folder is set: training = "FOLDER" in the file')
        if not why.strip():
            raise StationError("say why this image should teach")
        with self.place.database.read() as session:
            one = session.get(Inspection, number)
        if one is None or one.said != "good":
            raise StationError("only a part that a person called good can teach")
        if self.of(number) is not None:
            raise StationError(f"image {number} lies in training already")
        if self.today() >= self.settings.taught_a_day:
            raise StationError(
                f"{self.settings.taught_a_day} images were given within a day (taught-a-day): look "
                "at them first, then go on tomorrow"
            )
        file = self._folder(one.product) / self._name(one)
        try:
            write_atomically(file, self.place.image(one.digest).read_bytes())
        except OSError as error:
            raise StationError(f"cannot write {file}: {error.strerror}") from None
        try:
            self._note(actor, number, why, file)
        except FedPatchCoreError:
            with suppress(OSError):
                file.unlink()
            raise
        self.place.changed()
        return file

    def _note(self, actor: Actor, number: int, why: str, file: Path) -> None:
        with self.place.database.write() as session:
            row = Taught(inspection_id=number, at=now(), who=actor.name, why=why, file=str(file))
            session.add(row)
            self.place.trail.add(session, actor, "part.taught", str(number), after=str(file))
        self.place.trail.note_head()

    def _folder(self, product: str) -> Path:
        root = Path(self.settings.training).expanduser().absolute()
        own = root / product
        for base in (own, root):
            for kept in ("train/good", "good", "normal"):
                if (base / kept).is_dir():
                    return base / kept
        if own.is_dir():
            return own
        raise StationError(f"{root} has no folder of good images of {product}")

    def _name(self, one: Inspection) -> str:
        kind = kind_of(self.place.image(one.digest).read_bytes()[:DICOM_HEAD]) or "png"
        stem = file_stem(Path(one.source.partition(":")[2] or one.source).stem)
        return f"station-{one.id}-{stem}.{ENDS.get(kind, kind)}"

    def take_back(self, actor: Actor, number: int) -> None:
        """Delete the copy again. Raises StationError if there is none, or it stays."""
        found = self.of(number)
        if found is None:
            raise StationError(f"image {number} does not lie in training")
        try:
            Path(found.file).unlink(missing_ok=True)
        except OSError as error:
            raise StationError(f"cannot delete {found.file}: {error.strerror}") from None
        with self.place.database.write() as session:
            row = session.get(Taught, found.id)
            row.undone_at, row.undone_by = now(), actor.name
            self.place.trail.add(session, actor, "part.untaught", str(number), before=found.file)
        self.place.trail.note_head()
        self.place.changed()
