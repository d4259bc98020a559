"""Texts from elsewhere: one line each, nothing that a terminal obeys, no longer than is read.

A site's note, a reason, a device's name or a line of a log was written by somebody else. Shown as
it is it could move the cursor, forge a line or fill the screen.
"""

from __future__ import annotations

__all__ = ["NAME", "NOTE", "is_name", "one_line"]

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
