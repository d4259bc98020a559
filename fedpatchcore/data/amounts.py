"""How many images there were, in words: what was found, what taught, what was held out."""

from __future__ import annotations

__all__ = ["images_told"]


def images_told(taught: int, held_out: int = 0, bad: int = 0) -> str:
    """``40 images (36 taught, 4 held out)``; the brackets only where not all of them taught."""
    total = taught + held_out + bad
    parts = [(taught, "taught"), (held_out, "held out"), (bad, "unreadable")]
    told = ", ".join(f"{count:,} {what}" for count, what in parts if count or what == "taught")
    return f"{total:,} image{'' if total == 1 else 's'}" + (f" ({told})" if held_out or bad else "")
