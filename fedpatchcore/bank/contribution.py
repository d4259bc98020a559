"""What one site gives to the bank: a coreset a section, with the facts the server needs."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from fedpatchcore.errors import CoresetError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.files import (
    StoredArray,
    open_arrays,
    read_arrays,
    read_header,
    to_parts,
    write_atomically,
)

__all__ = ["Contribution", "Part"]

MAX_IMAGES = 10**8
MAX_PATCHES_AN_IMAGE = 10**6
BESIDE = tuple(np.dtype(kind) for kind in ("f2", "f4", "f8", "i1", "i4", "u1"))
LARGEST = 1e15  # squares of more, summed over a row, leave float32


@dataclass(frozen=True)
class Part:
    """One section of a site's contribution.

    Attributes:
        features: float32 ``[k, D]`` in order of selection, so that any prefix is a coreset (of
            several rounds, woven together: a prefix has its share of each). What
            a server keeps on disk is a `StoredArray`; `read` gives the rows of either.
        images: training images that the rows were selected from.
        patches: patches that the rows were selected from.
        radius: every one of these patches lies within this L2 distance of a row (or, in a
            later round, of the bank the site was given).
        beside: arrays that a method gives beside its rows, by name, of a dtype in `BESIDE`; it is
            the method that looks into them. With some there may be no rows. What is kept are
            float32 matrices.
    """

    features: np.ndarray | StoredArray
    images: int
    patches: int
    radius: float
    beside: Mapping[str, np.ndarray | StoredArray] = field(default_factory=dict)

    def read(self, first: int | None = None) -> np.ndarray:
        """The rows, or the first so many of them."""
        stored = isinstance(self.features, StoredArray)
        return self.features.read(first) if stored else self.features[:first]

    def read_beside(self) -> dict[str, np.ndarray]:
        """The arrays beside the rows, in memory."""
        return {
            name: one.read() if isinstance(one, StoredArray) else one
            for name, one in self.beside.items()
        }

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and of what is beside them."""
        return self.features.nbytes + sum(one.nbytes for one in self.beside.values())


class _PartHeader(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    images: int
    patches: int
    radius: float
    beside: list[str] = []


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")
    site: str
    fingerprint: Fingerprint
    parts: list[_PartHeader]


@dataclass(frozen=True)
class Contribution:
    """All sections of one site."""

    site: str
    fingerprint: Fingerprint
    parts: Mapping[str, Part]

    @property
    def nbytes(self) -> int:
        """Bytes of all features, and of what is beside them."""
        return sum(part.nbytes for part in self.parts.values())

    def check(self) -> None:
        """Raise CoresetError naming the section and the fault: this came over the wire."""
        for name, part in self.parts.items():
            where = f"section '{name}' of site '{self.site}'"
            rows = part.features
            if rows.dtype != np.float32:
                raise CoresetError(f"{where} is {rows.dtype}, expected float32")
            if rows.ndim != 2 or rows.shape[1] != self.fingerprint.dimension:
                raise CoresetError(
                    f"{where} has shape {rows.shape}, expected [k, {self.fingerprint.dimension}]"
                )
            if not len(rows) and not part.beside:
                raise CoresetError(f"{where} has zero rows")
            _check_values(rows, where)
            for name, one in part.beside.items():
                if one.dtype not in BESIDE or not one.size:
                    raise CoresetError(f"{where}: '{name}' is {one.dtype} {one.shape}")
        self.check_counts()

    def check_counts(self) -> None:
        """As `check`, without a look at the rows."""
        for name, part in self.parts.items():
            where, rows = f"section '{name}' of site '{self.site}'", part.features
            if not (bool(len(rows)) <= part.images <= MAX_IMAGES):
                raise CoresetError(f"{where} claims {part.images:,} images, which is not possible")
            if not len(rows) <= part.patches <= part.images * MAX_PATCHES_AN_IMAGE:
                raise CoresetError(
                    f"{where} claims {part.patches:,} patches for {len(rows):,} rows "
                    f"of {part.images:,} images, which is not possible"
                )
            if not (np.isfinite(part.radius) and part.radius >= 0):
                raise CoresetError(f"{where} claims a radius of {part.radius}")

    def extended(self, later: Contribution, known: Container[str]) -> Contribution:
        """This contribution with the rows of a later round woven into the ``known`` sections.

        Aggregations that take the first rows of each site thus take some of every round. Rows that
        are here already are left out: a site that has not seen a bank with them sends them again.
        """
        parts = dict(self.parts)
        for name, new in later.parts.items():
            if (old := parts.get(name)) and name in known:
                rows, more = old.read(), new.read()
                more = more[_unseen(more, rows)]
                if not len(more):
                    parts[name] = replace(old, beside=new.beside)
                    continue
                new = Part(
                    _woven(rows, more),
                    old.images + new.images,
                    old.patches + new.patches,
                    max(old.radius, new.radius),
                    new.beside,
                )
            parts[name] = new
        return Contribution(self.site, self.fingerprint, parts)

    def save(self, path: Path, *, durable: bool = True) -> None:
        """Write a ``.safetensors`` file atomically; OSError if that is not possible."""
        names = sorted(self.parts)
        header = _Header(
            site=self.site,
            fingerprint=self.fingerprint,
            parts=[
                _PartHeader(
                    name=n,
                    images=p.images,
                    patches=p.patches,
                    radius=p.radius,
                    beside=sorted(p.beside),
                )
                for n, p in sorted(self.parts.items())
            ],
        )
        arrays = {str(at): self.parts[name].read() for at, name in enumerate(names)}
        for at, name in enumerate(names):
            arrays |= {f"{at}.{what}": a for what, a in self.parts[name].read_beside().items()}
        content = to_parts(arrays, header.model_dump(mode="json"))
        write_atomically(path, content, durable=durable)

    @classmethod
    def load(cls, path: Path) -> Contribution:
        """Read and check. Raises CoresetError if the file is cut short, foreign or inconsistent."""
        found = cls._of(*read_arrays(path, kind="coreset", error=CoresetError), path)
        found.check()
        return found

    @classmethod
    def open(cls, path: Path) -> Contribution:
        """A file that was saved or loaded before: its rows stay there until they are read."""
        return cls._of(*open_arrays(path, error=CoresetError), path)

    @classmethod
    def _of(
        cls, text: str, arrays: Mapping[str, np.ndarray | StoredArray], path: Path
    ) -> Contribution:
        header = read_header(text, _Header, where=f"coreset file {path}", error=CoresetError)
        named = {str(at) for at in range(len(header.parts))}
        named |= {f"{at}.{what}" for at, p in enumerate(header.parts) for what in p.beside}
        if named != set(arrays):
            raise CoresetError(f"coreset file {path}: its arrays do not match its header")
        parts = {
            p.name: Part(
                arrays[str(at)],
                p.images,
                p.patches,
                p.radius,
                {what: arrays[f"{at}.{what}"] for what in p.beside},
            )
            for at, p in enumerate(header.parts)
        }
        return cls(header.site, header.fingerprint, parts)


def _check_values(values: np.ndarray, where: str) -> None:
    """Raise CoresetError for values that are none, or that no network gives."""
    step = max(1, 2**22 // max(1, values[:1].size))
    if not all(np.isfinite(values[at : at + step]).all() for at in range(0, len(values), step)):
        raise CoresetError(f"{where} holds NaN or infinite values")
    if values.size and max(-float(values.min()), float(values.max())) > LARGEST:
        raise CoresetError(f"{where} holds values beyond {LARGEST:g}, which no network gives")


def _unseen(rows: np.ndarray, known: np.ndarray) -> list[int]:
    """Which rows are none of those known, bit for bit."""
    seen = {row.tobytes() for row in known}
    return [at for at, row in enumerate(rows) if row.tobytes() not in seen]


def _woven(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Rows of both, each in its order, in every stretch in proportion to their numbers."""
    places = [(np.arange(len(rows)) + 0.5) / len(rows) for rows in (old, new)]
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate([old, new])[order]
