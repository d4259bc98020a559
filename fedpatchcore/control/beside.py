"""Two banks side by side: rows that stayed, came and went, by site; and each site's figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import MERGED, Section
from fedpatchcore.control.gates import Gate, gates
from fedpatchcore.control.registry import Registry
from fedpatchcore.control.tables import BankVersion
from fedpatchcore.errors import FedPatchCoreError

__all__ = ["Beside", "Change", "beside"]

LARGEST = 512 * 2**20  # bytes of a file whose rows are looked at while a page is waited for


@dataclass(frozen=True)
class Change:
    """What became of a section from one bank to the other.

    Attributes:
        rows: of each bank; None where it has no such section.
        stayed: rows that both have, to the bit; None where rows were not looked at.
        by_site: ``(site, rows here, rows there, came, went)``; the last two None likewise.
        figures: of each site under both banks.
    """

    product: str
    rows: tuple[int | None, int | None]
    stayed: int | None
    by_site: list[tuple[str, int, int, int | None, int | None]]
    figures: list[Gate] = field(default_factory=list)


@dataclass(frozen=True)
class Beside:
    """Two versions, older first.

    Attributes:
        why: why their rows were not looked at; empty if they were.
    """

    changes: list[Change]
    same_features: bool
    why: str


def beside(registry: Registry, one: BankVersion, other: BankVersion) -> Beside:
    """What the second bank changes over the first."""
    banks, why = _opened(registry, one, other)
    changes = []
    for product in sorted(set(one.sections) | set(other.sections)):
        told = [version.sections.get(product) for version in (one, other)]
        parts = [_section(bank, product) for bank in banks] if banks else [None, None]
        stayed, came, went = _rows(banks, parts)
        here, there = (dict((one or {}).get("rows_by_site") or {}) for one in told)
        by_site = [
            (
                site,
                here.get(site, 0),
                there.get(site, 0),
                None if came is None else came[site],
                None if went is None else went[site],
            )
            for site in sorted(here.keys() | there.keys())
        ]
        rows = tuple(None if one is None else one["rows"] for one in told)
        figures = gates(product, one.results, other.results, registry.limits)
        changes.append(Change(product, rows, stayed, by_site, figures))
    return Beside(changes, one.fingerprint == other.fingerprint, why)


def _opened(registry: Registry, *versions: BankVersion) -> tuple[list[MemoryBank], str]:
    if sum(version.size for version in versions) > LARGEST:
        return [], f"they are larger than {LARGEST >> 20} MB together"
    try:
        return [MemoryBank.load(registry.file(version.digest)) for version in versions], ""
    except (FedPatchCoreError, OSError) as error:
        return [], str(error)


def _section(bank: MemoryBank, product: str) -> Section | None:
    try:
        return bank.section(product)
    except FedPatchCoreError:
        return None


def _rows(
    banks: list[MemoryBank], parts: list[Section | None]
) -> tuple[int | None, Counter[str] | None, Counter[str] | None]:
    """Rows in both; rows that are in the second alone and in the first alone, by site."""
    if not banks or any(part is None for part in parts):
        return None, None, None
    told = [_told(part) for part in parts]
    common = told[0].keys() & told[1].keys()

    def alone(at: int) -> Counter[str]:
        names = banks[at].sites
        origins = (o for row, o in told[at].items() if row not in common)
        return Counter("(merged)" if o == MERGED else names[o] for o in origins)

    return len(common), alone(1), alone(0)


def _told(part: Section) -> dict[bytes, Any]:
    """Each row's bytes → its origin."""
    rows = np.ascontiguousarray(part.features)
    return {row.tobytes(): int(o) for row, o in zip(rows, part.origin, strict=True)}
