"""Dataclass rows ↔ one list a field, as numbers travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

__all__ = ["columns", "from_columns"]


def columns(rows: Sequence[object], kind: type) -> dict[str, list]:
    """Dataclass rows → one list a field; fields that are tuples are laid end to end."""
    table: dict[str, list] = {}
    for item in fields(kind):
        values = [getattr(row, item.name) for row in rows]
        if values and isinstance(values[0], tuple):
            values = [v for value in values for v in value]
        table[item.name] = values
    return table


def from_columns(table: Mapping[str, Sequence], kind: type, count: int) -> list:
    """Inverse of `columns` for ``count`` rows. Raises KeyError or ValueError if it does not fit."""
    rows = []
    for item in fields(kind):
        values = list(table[item.name])
        if str(item.type).startswith("tuple"):
            width, rest = divmod(len(values), count) if count else (0, len(values))
            if rest:
                raise ValueError(f"'{item.name}' holds {len(values)} values for {count} rows")
            values = [tuple(values[i * width : (i + 1) * width]) for i in range(count)]
        if len(values) != count:
            raise ValueError(f"'{item.name}' holds {len(values)} values, expected {count}")
        rows.append(values)
    names = [item.name for item in fields(kind)]
    return [kind(**dict(zip(names, row, strict=True))) for row in zip(*rows, strict=True)]
