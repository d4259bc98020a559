"""Banks that a station holds: taken from a file, checked, kept under their SHA-256, warmed up.

The last two of a kind are kept; a person may go back to the one before. A bank that cannot be used
here is refused by name, and the one in use goes on.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import BankError, FedPatchCoreError, StationError
from fedpatchcore.files import sync
from fedpatchcore.station.benches import Bench
from fedpatchcore.station.place import Full, Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import BankUse, Inspection, WayBack
from fedpatchcore.station.thresholds import left_behind
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import now

__all__ = ["SYSTEM", "Banks"]

KEPT = 2
LAST, SIZES = 200, 3  # pictures that were judged last; sizes among them to be warm for
SYSTEM = Actor("station")


class Banks:
    """The banks of one station."""

    def __init__(self, place: Place, settings: StationSettings) -> None:
        self.place, self.settings = place, settings

    def file(self, digest: str) -> Path:
        """Where the bank of this content lies."""
        return self.place.folder / "banks" / f"{digest}.safetensors"

    def in_use(self) -> BankUse | None:
        """The last bank that was put in use; None before the first."""
        with self.place.database.read() as session:
            return session.scalars(select(BankUse).order_by(BankUse.id.desc()).limit(1)).first()

    def used(self, most: int = 20) -> list[BankUse]:
        """What was in use, the last first."""
        with self.place.database.read() as session:
            return list(session.scalars(select(BankUse).order_by(BankUse.id.desc()).limit(most)))

    def take(self, source: Path) -> str:
        """Keep a copy of a bank's file, read and found whole → its SHA-256.

        Raises:
            BankError: it cannot be used: cut short, damaged, foreign.
            StationError: it cannot be read, or not be kept.
        """
        data_digest = hashlib.sha256()
        part = self.place.folder / "banks" / f".{os.getpid()}.part"
        try:
            with source.open("rb") as opened:
                target = part.open("wb")
                with target:
                    while piece := opened.read(1 << 20):
                        data_digest.update(piece)
                        target.write(piece)
                    target.flush()
                    os.fsync(target.fileno())
            MemoryBank.load(part)
            digest = data_digest.hexdigest()
            part.replace(self.file(digest))
            sync(part.parent)
        except BankError as error:
            raise BankError(str(error).replace(str(part), str(source))) from None
        except OSError as error:
            kind = Full if error.errno == 28 else StationError
            raise kind(f"cannot take the bank {source}: {error.strerror}") from None
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return digest

    def bench(self, digest: str, own: str = "", beside: Bench | None = None) -> Bench:
        """A bench on kept banks, warmed up.

        Args:
            beside: the one in use, whose network is taken over where it fits.

        Raises:
            BankError, FingerprintError, WeightsError, ConfigError: why it cannot be used.
        """
        told = MemoryBank.load(self.file(digest))
        mine = MemoryBank.load(self.file(own)) if own else None
        backbone = beside.detector.backbone if beside else None
        made = Bench(self.settings, told, digest, mine, own_digest=own, backbone=backbone)
        made.warm(self._sizes())
        return made

    def _sizes(self) -> list[tuple[int, int]]:
        """(W, H) that most of the pictures had which were judged last."""
        query = select(Inspection.width, Inspection.height).where(Inspection.state == "judged")
        with self.place.database.read() as session:
            found = session.execute(query.order_by(Inspection.id.desc()).limit(LAST)).all()
        return [(one[0], one[1]) for one, _ in Counter(found).most_common(SIZES)]

    def held(self) -> WayBack | None:
        """A person's way back that stands."""
        with self.place.database.read() as session:
            return session.scalars(select(WayBack).where(WayBack.ended_at.is_(None))).first()

    def before(self) -> BankUse | None:
        """The last other bank that was in use, judged as the settings say, and is kept."""
        used = self.used(200)
        for one in used[1:]:
            other = (one.digest, one.own) != (used[0].digest, used[0].own)
            files = [self.file(name) for name in (one.digest, one.own) if name]
            if other and one.judged_by == self.settings.judge_by and all(f.exists() for f in files):
                return one
        return None

    def note(
        self,
        bench: Bench,
        own: str,
        actor: Actor = SYSTEM,
        version: str = "",
        *,
        back: str = "",
    ) -> None:
        """It judges from now on; banks that are older than the last two are deleted.

        Args:
            back: why a person goes back to it; empty: nobody does, and a way back that stands ends.
        """
        with self.place.database.write() as session:
            last = session.scalars(select(BankUse).order_by(BankUse.id.desc()).limit(1)).first()
            self._note_way(session, bench, own, actor, last, back)
            same = last is not None and (last.digest, last.own, last.judged_by) == (
                bench.digest,
                own,
                self.settings.judge_by,
            )
            if same:
                return
            session.add(
                BankUse(
                    digest=bench.digest,
                    own=own,
                    judged_by=self.settings.judge_by,
                    since=now(),
                    who=actor.name,
                    version=version,
                )
            )
            before = last.digest if last else None
            if last is not None:
                left_behind(session, self.place.trail, actor, last, bench.digest)
            self.place.trail.add(
                session, actor, "bank.used", self.settings.judge_by, before, bench.digest
            )
        self.place.trail.note_head()
        self._tidy()
        self.place.changed()

    def _note_way(
        self,
        session: Session,
        bench: Bench,
        own: str,
        actor: Actor,
        last: BankUse | None,
        back: str,
    ) -> None:
        stands = session.scalars(select(WayBack).where(WayBack.ended_at.is_(None))).first()
        if stands is not None and not back and (stands.digest, stands.own) == (bench.digest, own):
            return  # a restart: the way back stands
        if stands is not None:
            stands.ended_at, stands.ended_by = now(), actor.name
        if back and last is not None:
            session.add(
                WayBack(
                    digest=bench.digest,
                    own=own,
                    left_digest=last.digest,
                    left_own=last.own,
                    at=now(),
                    who=actor.name,
                    why=back,
                )
            )
            self.place.trail.add(session, actor, "bank.back", back, last.digest, bench.digest)

    def _tidy(self) -> None:
        kept: list[str] = []
        for one in self.used(200):
            if one.digest not in kept:
                kept.append(one.digest)
            if len(kept) == KEPT:
                break
        owns: list[str] = []
        for one in self.used(200):
            if one.own and one.own not in owns:
                owns.append(one.own)
            if len(owns) == KEPT:
                break
        for file in (self.place.folder / "banks").glob("*.safetensors"):
            if file.stem not in (*kept, *owns):
                with suppress(OSError):
                    file.unlink()

    def first(self) -> tuple[Bench, str, str]:
        """The bench to begin with → it, the own bank's digest, what was wrong with a newer one.

        Raises:
            FedPatchCoreError: there is none that could be used.
        """
        last, wrong = self.in_use(), ""
        try:
            digest, own = self.sources()
            held = self.held()
            if held is not None and (digest, own) == (held.left_digest, held.left_own):
                digest, own = held.digest, held.own
            return self.bench(digest, own), own, ""
        except (FedPatchCoreError, OSError) as error:
            wrong = str(error)
            if last is None or not self.file(last.digest).exists():
                raise
        return self.bench(last.digest, last.own), last.own, wrong

    def stamp(self) -> str:
        """Another text whenever the files that the settings name are others; empty without them."""
        found = []
        for told in filter(None, self._named()):
            try:
                stat = told.stat()
            except OSError:
                return ""  # gone, or on a drive that is away: what is in use goes on
            found.append(f"{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}")
        return " ".join(found)

    def _named(self) -> tuple[Path | None, Path | None]:
        """Where the settings say that the federation's bank and the own one lie."""
        told = None
        if self.settings.registry:
            name = f"{self.settings.product}.safetensors"
            told = self.place.folder / "released" / name
        elif self.settings.bank:
            told = Path(self.settings.bank).expanduser()
            if told.is_dir():  # as 'fedpatchcore bank pull' fills it
                told = told / f"{self.settings.product}.safetensors"
        own = self.settings.own_bank
        return told, Path(own).expanduser() if own else None

    def sources(self) -> tuple[str, str]:
        """The banks that the settings name, taken → their digests, "" for none.

        Raises:
            BankError, StationError: one cannot be used.
        """
        told, own = self._named()
        if told is None and self.settings.judge_by != "own":
            raise StationError(
                'no bank is named: write bank = "FILE" into the station\'s file, or registry = '
                '"https://…" of a control room'
            )
        first = self.take(told) if told else ""
        second = self.take(own) if own else ""
        return first or second, second
