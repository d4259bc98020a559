"""Other programs that the benchmarks run against, each in a virtual environment of its own.

The environments lie below $FEDPATCHCORE_HOME/peers (default ~/.cache/fedpatchcore/peers). The
first call of `anomalib_python` takes minutes and some 8 GB; later calls only look for a file.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from fedpatchcore.places import cache_home

__all__ = ["anomalib_python"]

_IMPORTS = """
from anomalib.models.components.sampling import KCenterGreedy
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
"""


def anomalib_python(*more: str) -> Path:
    """The interpreter of an environment in which anomalib's PatchCore can be imported.

    Made on first use: ``python -m venv``, ``pip install anomalib``, a try at importing, and a
    file ``.ready`` that says so. One maker at a time. ``more``: packages that it has as well.
    """
    home = cache_home() / "peers" / "anomalib"
    home.mkdir(parents=True, exist_ok=True)
    python, ready = home / "bin" / "python", home / ".ready"
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            print(f"installing anomalib into {home} (minutes, gigabytes) …", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", "anomalib"], check=True)
            subprocess.run([str(python), "-c", _IMPORTS], check=True)
            ready.touch()
        if more:
            subprocess.run([str(python), "-m", "pip", "install", "-q", *more], check=True)
    return python


if __name__ == "__main__":
    print(anomalib_python())
