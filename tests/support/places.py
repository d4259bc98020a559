"""Where the repository and the real data beside it are."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["ROOT", "SHARED"]

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("FEDPATCHCORE_SHARED") or ROOT.parent / "shared")
