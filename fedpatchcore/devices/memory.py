"""What a device has room for, and what to do when it had less than it said."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

__all__ = ["OutOfMemory", "free_bytes", "in_blocks"]

log = logging.getLogger("fedpatchcore")

OutOfMemory = torch.cuda.OutOfMemoryError
"""What torch raises when a device has no more memory; the same class whatever the device."""

ON_HOST = 1 << 28  # bytes of tables at a time where memory is the host's own


def free_bytes(device: torch.device) -> int:
    """Bytes that new tensors on a device may take: free, or kept by torch and not in use."""
    if device.type != "cuda":
        return ON_HOST
    number = torch.cuda.current_device() if device.index is None else device.index
    kept = torch.cuda.memory_reserved(number) - torch.cuda.memory_allocated(number)
    return torch.cuda.mem_get_info(number)[0] + kept


def in_blocks(work: Callable[[slice], None], total: int, block: int, *, what: str) -> int:
    """``work(slice)`` over ``range(total)``; out of memory, the block is halved and done again.

    Args:
        work: may be called anew on what it has begun.
        what: for the line that is logged.

    Returns:
        The size of block that served, for the next time.

    Raises:
        OutOfMemory: even one at a time is too much.
    """
    start, block = 0, max(1, min(block, total))
    while start < total:
        try:
            work(slice(start, min(total, start + block)))
        except OutOfMemory:
            if block == 1:
                raise
            block = -(-block // 2)
        else:
            start += block
            continue
        # outside of the handler, which holds what the failed call had
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        log.warning("%s: out of memory on the device, going on with %s at a time", what, block)
    return block
