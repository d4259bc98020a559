"""The control room's look: its own templates over those that all pages have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedpatchcore.control.roles import allows
from fedpatchcore.web.render import Look

__all__ = ["LOOK", "asset", "page"]


def rate(told: Sequence[int] | Mapping | None) -> str:
    """``[7, 8]`` as ``7 of 8``."""
    return f"{told[0]} of {told[1]}" if isinstance(told, Sequence) and len(told) == 2 else "–"


def in_words(value: object) -> str:
    """What stands in the trail, in words: ``role admin, site –``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(in_words, value)) or "–"
    return "–" if value in (None, "") else str(value)


LOOK = Look("fedpatchcore.control", more={"allows": allows, "rate": rate, "words": in_words})
page = LOOK.page
asset = LOOK.asset
