"""Where the repository, the real data beside it and the programs that tests start are."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

__all__ = ["BENCHMARKS", "NGINX", "ROOT", "SCRIPTS", "SHARED"]

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("FEDPATCHCORE_SHARED") or ROOT.parent / "shared")
BENCHMARKS = SHARED / "data"
SCRIPTS = Path(sys.executable).parent
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
