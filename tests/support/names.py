"""Names that tests have in common: of three sites, and of wires that round."""

from __future__ import annotations

__all__ = ["LOSSY", "NAMES"]

NAMES = ("north", "south", "west")
LOSSY = ("float16", "int8", "pq")
