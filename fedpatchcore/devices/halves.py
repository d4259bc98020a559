"""Whether this machine's processor multiplies half-precision numbers itself.

Where it does not, a half is emulated: the same features, several times slower than float32.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["native_half", "slow_half"]

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = {  # as Linux names them, of x86 and of ARM
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}


@cache
def _flags(file: Path) -> frozenset[str]:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return frozenset()
    told = (line.partition(":") for line in lines)
    words = [value for key, _, value in told if key.strip().lower() in ("flags", "features")]
    return frozenset(words[0].split()) if words else frozenset()


def native_half(precision: str) -> bool:
    """Whether the processor has instructions for ``bfloat16`` or ``float16``.

    False where nothing tells (systems other than Linux).
    """
    return bool(INSTRUCTIONS[precision] & _flags(CPUINFO))


def slow_half(precision: str) -> str:
    """One line on what a half costs on this processor; "" where it costs nothing."""
    if precision == "float32" or native_half(precision):
        return ""
    return (
        f"this processor has no {precision} instructions: features are the same, but are emulated, "
        "several times slower than float32"
    )
