"""The words that a ``device`` setting may be; loads nothing that computes."""

from __future__ import annotations

import re

__all__ = ["DEVICES", "check_device"]

DEVICES = "auto, cpu, cuda, cuda:1 (or another number), all"
_NAME = re.compile(r"auto|all|cpu|cuda(:(0|[1-9]\d?))?")


def check_device(key: str, name: str) -> None:
    """Raise ValueError unless a setting's word names a device."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{key}: must be one of {DEVICES}, got {name!r}")
