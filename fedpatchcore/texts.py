"""Texts from elsewhere: one line each, nothing that a terminal obeys, no longer than is read.

A site's note, a reason, a device's name or a line of a log was written by somebody else. Shown as
it is it could move the cursor, forge a line or fill the screen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["NAME", "NOTE", "counted", "is_name", "one_line", "together"]

NAME = 255  # characters of a name: a folder's, and file systems end at 255 bytes
NOTE = 1000  # of a note, a reason, a device
JOINERS = "\u200c\u200d"  # of Persian and Indic words; not printable to Python


def one_line(text: object, most: int = NOTE) -> str:
    """A text as one line of at most ``most`` characters; control characters are spelt out.

    White space becomes single blanks; whatever Python does not call printable (escape sequences,
    marks that turn the direction of writing, lone surrogates) is written as ``\\x1b``.
    """
    told = str(text)
    cut = told[: 4 * most]  # no work for what nobody will see; white space may shrink
    plain = "".join(map(_spelt, " ".join(cut.split())))
    if len(plain) <= most and len(cut) == len(told):
        return plain
    return plain[: most - 1] + "…"


def counted(number: int, what: str) -> str:
    """How many there are of what.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def together(reasons: Mapping[str, str], most: int = 10) -> list[str]:
    """Reasons by site, each told once with the sites that it is the reason of.

    >>> together({"a": "site 'a' is full", "b": "site 'b' is full", "c": "late"})
    ['a, b: the site is full', 'c: late']
    """
    sites: dict[str, list[str]] = {}
    for site, reason in sorted(reasons.items()):
        name = re.escape(site)
        same = re.sub(rf"site '{name}'|(?<![\w.-]){name}(?![\w-])", "the site", reason)
        sites.setdefault(same, []).append(site)
    told = []
    for same, own in sites.items():
        if len(own) == 1:
            told.append(f"{own[0]}: {reasons[own[0]]}")
            continue
        more = f" and {len(own) - most} more" if len(own) > most else ""
        told.append(f"{', '.join(own[:most])}{more}: {same}")
    return told


def is_name(text: object, most: int = NAME) -> bool:
    """Whether a text may name a site, a product or a section: printable, on one line, not empty."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= most
        and text == text.strip()
        and all(map(_shows, text))
    )


def _shows(letter: str) -> bool:
    return letter.isprintable() or letter in JOINERS


def _spelt(letter: str) -> str:
    return letter if _shows(letter) else letter.encode("unicode_escape").decode()
