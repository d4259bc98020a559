"""Freed memory goes back to the system between requests."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
from pathlib import Path
from fedpatchcore.worker.memory import give_back

def resident():
    told = Path("/proc/self/status").read_text()
    return int(told.split("RssAnon:")[1].split()[0]) / 1000

pieces = [bytearray(b"x" * 60_000) for _ in range(2000)]  # 120 MB in pieces that malloc keeps
last = bytearray(b"x" * 60_000)  # above them: the heap cannot shrink from its end
del pieces
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_memory_is_handed_back() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    assert float(ran.stdout) > 80
