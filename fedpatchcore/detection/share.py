"""A share of a picture's patches, as it is typed and as it is kept."""

from __future__ import annotations

from fedpatchcore.errors import ConfigError

__all__ = ["MILLION", "share_of", "told_share"]

MILLION = 1_000_000


def share_of(text: str) -> int:
    """``"max"`` → 0, ``"1%"`` or ``"0.01"`` → 10,000 millionths. Raises ConfigError for others."""
    word = text.strip()
    if word == "max":
        return 0
    try:
        number = float(word[:-1]) / 100 if word.endswith("%") else float(word)
    except ValueError:
        number = float("nan")
    found = round(MILLION * number) if 0 < number <= 1 else 0
    if not found:
        raise ConfigError(f"image-score: max, or a share of the grid such as 1%, got '{text}'")
    return found


def told_share(top: int) -> str:
    """Inverse of `share_of`: ``"1%"``."""
    return f"{100 * top / MILLION:g}%" if top else "max"
