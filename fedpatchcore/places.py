"""Where this machine keeps what outlives a run."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_home"]


def cache_home() -> Path:
    """Where this machine keeps caches: $FEDPATCHCORE_HOME or ~/.cache/fedpatchcore."""
    return Path(os.environ.get("FEDPATCHCORE_HOME") or "~/.cache/fedpatchcore").expanduser()
