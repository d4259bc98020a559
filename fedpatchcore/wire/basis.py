"""What numbers that add up under masks were made from: the same at every site, or there is no sum.

A server that sends one site the model in force, and all others one that teaches them nothing (or
the same with a learning rate of zero), would read that one site's numbers off their total
(Pasquini, Francati & Ateniese, "Eluding secure aggregation in federated learning via model
inconsistency", CCS 2022). Numbers that were made under a small noise's scale and are charged under
a large one's would be as bad. So a site keeps with its numbers a digest of everything that they
were made from but its own images; the digest is in the layout of the sum, so in its terms, and so
in every signature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.securesums.letters import framed
from fedpatchcore.settings import Settings
from fedpatchcore.wire.delta import digest

__all__ = ["basis_of", "is_of", "over"]

SHOWN = 47  # hexadecimal digits of a basis in a layout, beside 16 of a model's names and shapes


def basis_of(
    asked: Settings, bank: MemoryBank | None, beside: Mapping[str, np.ndarray] | None = None
) -> str:
    """SHA-256 of settings, bank and what came beside it, 64 hexadecimal digits.

    Args:
        asked: the settings of the run as they were sent, before a site cut any of them down.
        bank: that sites trained from, or judged by; None before there is one.
    """
    # without defaults: versions that differ in the last digit may know other settings
    words = asked.model_dump(by_alias=True, exclude_defaults=True)
    parts: list[bytes | str | int] = ["basis 1", json.dumps(words, sort_keys=True)]
    if bank is not None:
        parts += [bank.fingerprint.digest, bank.round, json.dumps(bank.scoring, sort_keys=True)]
        parts += [len(bank.sites), *bank.sites, digest(bank.sections)]
    for name, array in sorted((beside or {}).items()):
        whole = np.ascontiguousarray(array)
        parts += [name, whole.dtype.str, repr(whole.shape), whole.tobytes()]
    return hashlib.sha256(framed(*parts)).hexdigest()


def over(what: str, basis: str) -> str:
    """How a place of a layout names what is added there, and what it was made from."""
    return f"{what}.{basis[:SHOWN]}"


def is_of(codebook: str, basis: str) -> bool:
    """Whether a place of a layout is about numbers with that basis."""
    return codebook.rpartition(".")[2] == basis[:SHOWN]
