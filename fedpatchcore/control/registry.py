"""Every bank that a run made, as a version: where it comes from, who released it and when.

Bytes are kept under their SHA-256 in the control room's own folder: a later run may take the run
folder's name, and nothing that a site once pulled is ever changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED
from fedpatchcore.control.gates import TOGETHER, Gate, GateSettings, gates, passed
from fedpatchcore.control.looked import opened
from fedpatchcore.control.tables import (
    Alias,
    BankVersion,
    Note,
    ProductRule,
    Release,
    RemovedBank,
    Run,
)
from fedpatchcore.errors import BankError, ControlError, RunError
from fedpatchcore.files import private_folder, read_arrays, sync
from fedpatchcore.texts import NAME, one_line
from fedpatchcore.web.audit import Actor, Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.moments import now

__all__ = ["Registry"]

LARGEST = 32 * 2**30  # bytes of a bank file
PIECE = 2**20
ITSELF = Actor("control room")


class Registry:
    """Versions, aliases, releases."""

    def __init__(
        self, root: Path, state: Path, database: Database, trail: Trail, limits: GateSettings
    ) -> None:
        self.root = root
        self.banks = state / "banks"
        self.database = database
        self.trail = trail
        self.limits = limits
        private_folder(self.banks)

    # -- versions ---------------------------------------------------------------------

    def register(self, run: Run, results: list[dict[str, Any]]) -> int | None:
        """Take in the bank of a finished run; its version, or None if it made none.

        A bank that is damaged becomes no version, and the trail says why.
        """
        part = self.banks / f".{os.getpid()}.part"
        try:
            digest, size = self._copy(run.folder, part)
            text, arrays = read_arrays(part, kind="bank", error=BankError)
            bank = MemoryBank.from_header(text, arrays, where=f"bank of {run.folder}")
        except (BankError, RunError, OSError) as error:
            part.unlink(missing_ok=True)
            if not isinstance(error, RunError):
                with self.database.write() as session:
                    self.trail.add(session, ITSELF, "bank.refused", run.folder, after=str(error))
                self.trail.note_head()
            return None
        with self.database.write() as session:
            same = (BankVersion.run_id == run.id) & (BankVersion.digest == digest)
            known = session.scalar(select(BankVersion.id).where(same))
            if known is not None and session.get(RemovedBank, known) is not None:
                part.unlink()
                return known
            part.replace(self.file(digest))
            sync(self.banks)
            if known is not None:
                return known
            told = _told(bank, run, results) | {"library": _library(text)}
            version = BankVersion(run_id=run.id, digest=digest, size=size, **told)
            session.add(version)
            session.flush()
            self._candidates(session, version)
            self.trail.add(session, ITSELF, "bank.registered", f"bank {version.id}", after=digest)
            self._automatic(session, version)
        self.trail.note_head()
        return version.id

    def _automatic(self, session: Session, version: BankVersion) -> None:
        """Release it for the products whose rule says so, where every gate is passed."""
        rules = select(ProductRule.product).where(ProductRule.automatic)
        mine = select(Alias.product).where(Alias.version_id == version.id)
        wanted = sorted(set(session.scalars(rules)) & set(session.scalars(mine)))
        for product, found in self.gates(session, version, *wanted).items():
            if passed(found):
                note = f"by itself: all {len(found)} gates are passed"
                self._put(session, ITSELF, version, product, note, "bank.released", found)

    def automatic(self, actor: Actor, product: str, on: bool) -> None:
        """Whether a product's new bank is released by itself once all gates are passed."""
        with self.database.write() as session:
            if session.scalar(select(Alias.product).where(Alias.product == product)) is None:
                raise ControlError(f"no bank of {product!r} was made here")
            rule = session.get(ProductRule, product) or ProductRule(product=product)
            before, rule.automatic = bool(rule.automatic), on
            session.add(rule)
            self.trail.add(session, actor, "bank.automatic", product, before=before, after=on)
        self.trail.note_head()

    def _candidates(self, session: Session, version: BankVersion) -> None:
        """Its products' newest candidate, unless a newer bank is one or is in production."""
        later = select(Alias.product).join(BankVersion, BankVersion.id == Alias.version_id)
        newer = set(session.scalars(later.where(BankVersion.made_at > version.made_at)))
        for product in sorted(set(version.sections) - newer):
            session.merge(Alias(product=product, alias="candidate", version_id=version.id))

    def _copy(self, folder: str, target: Path) -> tuple[str, int]:
        """SHA-256 and bytes of the file that was copied to ``target``."""
        told, size = hashlib.sha256(), 0
        with opened(self.root, folder, "bank.safetensors") as source:
            made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(made, "wb") as file:
                while piece := source.read(PIECE):
                    told.update(piece)
                    size += len(piece)
                    if size > LARGEST:
                        raise BankError(f"the bank of {folder} is larger than {LARGEST >> 30} GB")
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        return told.hexdigest(), size

    def file(self, digest: str) -> Path:
        """Where the bytes of a version are kept."""
        return self.banks / f"{digest}.safetensors"

    # -- release ----------------------------------------------------------------------

    def gates(
        self, session: Session, version: BankVersion, *products: str
    ) -> dict[str, list[Gate]]:
        """By product: its figures beside those of the bank in production; none where it has none.

        Two queries, however many products there are.
        """
        mine = select(Alias).where(Alias.alias == "production", Alias.product.in_(products))
        held = {one.product: one.version_id for one in session.scalars(mine)}
        some = select(BankVersion.id, BankVersion.results)
        some = some.where(BankVersion.id.in_(set(held.values()) - {version.id}))
        before = dict(session.execute(some).all())
        return {
            one: gates(one, before[held[one]], version.results, self.limits)
            if held.get(one) in before
            else []
            for one in products
        }

    def release(
        self, actor: Actor, version_id: int, product: str, note: str, *, anyway: bool = False
    ) -> None:
        """Put a version in production.

        Raises:
            ControlError: it has no such product, is in production already, or a gate is not passed
                and nobody says ``anyway`` and why.
        """
        with self.database.write() as session:
            version = self._version(session, version_id, product)
            held = session.get(Alias, (product, "production"))
            if held and held.version_id == version.id:
                raise ControlError(f"bank {version.id} is in production for {product} already")
            if session.get(RemovedBank, version.id) is not None:
                raise ControlError(f"the bytes of bank {version.id} were removed")
            found = self.gates(session, version, product)[product]
            if held and not passed(found) and not (anyway and note):
                bad = next((g for g in found if not g.passed), None)
                why = f"{bad.what} of {bad.site}" if bad else "no site's figures can be compared"
                if bad and bad.site == TOGETHER and bad.passed is None:
                    why = f"a run tells no site's figures, and those of {TOGETHER} pass for none"
                raise ControlError(
                    f"a gate is not passed ({why}): release it anyway, and say why in the note"
                )
            self._put(session, actor, version, product, note, "bank.released", found)
        self.trail.note_head()

    def back(self, actor: Actor, product: str, note: str) -> int:
        """Put the version before this one in production again. Raises ControlError."""
        with self.database.write() as session:
            last = session.scalars(
                select(Release)
                .where(Release.product == product)
                .order_by(Release.id.desc())
                .limit(2)
            ).all()
            if len(last) < 2:
                raise ControlError(f"there is no earlier release of {product} to go back to")
            version = self._version(session, last[1].version_id, product)
            self._put(session, actor, version, product, note or "way back", "bank.back", [])
        self.trail.note_head()
        return version.id

    def _put(
        self,
        session: Session,
        actor: Actor,
        version: BankVersion,
        product: str,
        note: str,
        what: str,
        found: Iterable[Gate],
    ) -> None:
        at = now()
        held = session.get(Alias, (product, "production"))
        before = held.version_id if held else None
        open_one = (Release.product == product) & Release.until.is_(None)
        session.execute(update(Release).where(open_one).values(until=at))
        told = [gate.told() for gate in found]
        session.add(
            Release(
                product=product,
                version_id=version.id,
                since=at,
                who=actor.name,
                note=note,
                gates=told,
            )
        )
        session.merge(Alias(product=product, alias="production", version_id=version.id))
        candidate = session.get(Alias, (product, "candidate"))
        if candidate and candidate.version_id == version.id:
            session.delete(candidate)
        after = {"version": version.id, "note": note}
        self.trail.add(session, actor, what, product, before={"version": before}, after=after)

    def note(self, actor: Actor, version_id: int, text: str) -> None:
        """A person's words on a version. Raises ControlError."""
        with self.database.write() as session:
            self._version(session, version_id)
            session.add(Note(version_id=version_id, at=now(), who=actor.name, text=text))
            self.trail.add(session, actor, "bank.note", f"bank {version_id}", after=text)
        self.trail.note_head()

    def _version(self, session: Session, version_id: int, product: str = "") -> BankVersion:
        version = session.get(BankVersion, version_id)
        if version is None:
            raise ControlError(f"there is no bank {version_id}")
        if product and product not in version.sections:
            raise ControlError(f"bank {version_id} has no product {product!r}")
        return version


def _library(header: str) -> str:
    return one_line(json.loads(header).get("library_version", ""), NAME)


def _told(bank: MemoryBank, run: Run, results: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What a version says of itself."""
    header = bank.header()
    sections = {
        part["name"]: {key: part[key] for key in ("rows", "radius", "images", "rows_by_site")}
        for part in header["sections"]
    }
    if SHARED in sections:
        shared = sections.pop(SHARED)
        sections = {str(row["product"]): shared for row in results if row.get("product")}
    return {
        "made_at": run.told_at,
        "round": bank.round,
        "fingerprint": bank.fingerprint.digest,
        "aggregation": bank.aggregation,
        "mechanism": str(bank.privacy.get("mechanism", "off")),
        "sites": list(bank.sites),
        "sections": sections,
        "results": results,
    }
