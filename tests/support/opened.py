"""Counts how often image files are opened."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fedpatchcore.data import content
from fedpatchcore.data.images import IMAGE_SUFFIXES

__all__ = ["count_opens"]


def count_opens(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """Counts from here on, by path; files just written count as settled ones."""
    opened: Counter[Path] = Counter()
    real = Path.open

    def counted(path: Path, *how, **named):
        if path.suffix in IMAGE_SUFFIXES:
            opened[path] += 1
        return real(path, *how, **named)

    monkeypatch.setattr(content, "SETTLED_NS", 0)
    monkeypatch.setattr(Path, "open", counted)
    return opened
