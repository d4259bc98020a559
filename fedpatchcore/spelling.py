"""How a setting is typed in the command at hand.

A message names the setting that mends an error; only who runs the code knows how it is typed: as
an option of the command, after ``-c``, or in a table of settings. The command line and the apps
say so once (`spelled`), messages ask (`typed`), and what cannot be typed there is left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

__all__ = ["Spell", "after_c", "in_a_table", "mended", "nearest", "spelled", "typed"]

Spell = Callable[[str, str, bool], str]


def in_a_table(key: str, value: str, own: bool) -> str:
    """As in Flower's tables and in TOML: ``weights='FILE'``."""
    plain = value in ("true", "false") or value.replace(".", "", 1).isdigit()
    return f"{key}={value}" if plain else f"{key}='{value}'"


def after_c(key: str, value: str, own: bool) -> str:
    """As for ``fedpatchcore run``: ``-c weights=FILE``; a site's own stays as in its table."""
    return f'--node-config "{in_a_table(key, value, own)}"' if own else f"-c {key}={value}"


_spell: Spell = in_a_table


@contextmanager
def spelled(spell: Spell) -> Iterator[None]:
    """Messages made inside spell settings so."""
    global _spell
    before, _spell = _spell, spell
    try:
        yield
    finally:
        _spell = before


def typed(key: str, value: str, *, own: bool = False) -> str:
    """A setting with its value as it is typed here; "" where it cannot be.

    Args:
        own: it is one of a site's own settings (node-config), not of the run's.
    """
    return _spell(key, value, own)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.7) -> str:
    """`` (did you mean '…'?)`` of the word that is most like one mistyped; "" if none is."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f" (did you mean '{near[0]}'?)" if near else ""


def mended(text: str, *ways: str) -> str:
    """A message that ends in what mends it: ``text; what helps: one, or another``."""
    there = [way for way in ways if way]
    if not there:
        return text
    return f"{text}; what helps: {', or '.join(there)}"
