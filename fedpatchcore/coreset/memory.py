"""How many bytes a selection in blocks takes, and how a given amount is divided.

Counted are the rows held at one time with what greedy notes of them; see
`fedpatchcore.coreset.blocks` for the counter to the base m whose shape is chosen here.
"""

from __future__ import annotations

from fedpatchcore.coreset.greedy import costs

__all__ = ["counter_shape", "exact_memory", "least_memory", "row_bytes", "rows_at_once"]

BLOCKS_PLANNED = 1000
FLOAT, ID = 4, 8  # bytes


def row_bytes(dimension: int) -> tuple[int, int, int]:
    """Of a row in the buffer and of a pick, with what greedy notes of each; of a node's row."""
    row, pick = costs(dimension)
    kept = FLOAT * dimension + ID
    return kept + row, kept + pick, kept + 8  # a node keeps a radius a row


def counter_shape(memory: int, size: int, dimension: int) -> tuple[int, int]:
    """Base m and places P of the counter within so many bytes, at least `least_memory`.

    There are a buffer of m·k rows, the picks made of it, and m − 1 nodes a place.
    """
    row, pick, kept = row_bytes(dimension)
    for base in range(memory // (row * size), 1, -1):
        places = next(p for p in range(1, 99) if base**p >= BLOCKS_PLANNED)
        if (base * row + pick + places * (base - 1) * kept) * size <= memory:
            return base, places
    return 2, (memory // size - 2 * row - pick) // kept


def least_memory(size: int, dimension: int) -> int:
    """Bytes without which more rows than fit cannot be merged to ``size``: see `counter_shape`."""
    row, pick, kept = row_bytes(dimension)
    return (2 * row + pick + kept) * size


def exact_memory(rows: int, size: int, dimension: int) -> int:
    """Bytes within which ``size`` of so many rows are selected exactly."""
    row, pick, _ = row_bytes(dimension)
    return row * rows + pick * min(rows, size)


def rows_at_once(size: int, dimension: int, memory: int) -> int:
    """Rows of ``dimension`` floats that are selected from exactly within ``memory`` bytes."""
    row, pick, _ = row_bytes(dimension)
    few = memory // (row + pick)  # all are picked
    return few if few < size else (memory - size * pick) // row
