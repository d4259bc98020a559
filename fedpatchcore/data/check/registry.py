"""The checks there are, in the order in which they are told.

A further check is a function ``(looked) -> findings`` and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fedpatchcore.data.check import copies, folders, masks, pictures, samples
from fedpatchcore.data.check.findings import Finding
from fedpatchcore.data.check.looks import Looked

__all__ = ["CHECKS", "GRAVE"]

Check = Callable[[Looked], Iterable[Finding]]

GRAVE: tuple[Check, ...] = (
    pictures.unreadable,
    samples.depth,
    samples.floats,
    pictures.blank,
    copies.leaks,
    samples.pages,
    pictures.tiny,
)
"""What makes a bank or a figure wrong: looked for whenever one is made."""

CHECKS: tuple[Check, ...] = (
    *GRAVE,
    folders.enough,
    folders.misplaced,
    folders.names,
    folders.test_images,
    copies.copies,
    masks.masks,
    pictures.odd_size,
    pictures.odd_light,
    pictures.blurred,
    copies.twins,
)
