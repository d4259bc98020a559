"""Nodes whose answers are ready and do not come until something has happened."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.fakegrid import FakeGrid

__all__ = ["count", "held_back"]


def held_back(
    node: int, until: Callable[[FakeGrid], bool], *, kind: str = "train", which: int = 1
) -> Callable[[FakeGrid], None]:
    """A node's answer number ``which`` of a kind stays away until ``until`` says so."""

    def before(grid: FakeGrid) -> None:
        asked: list[str] = []
        push, pull = grid.push_messages, grid.pull_messages

        def pushed(messages) -> list[str]:
            messages = list(messages)
            ids = push(messages)
            for name, message in zip(ids, messages, strict=True):
                told = message.metadata
                if (told.dst_node_id, told.message_type) == (node, kind):
                    asked.append(name)
            return ids

        def pulled(names) -> list:
            held = asked[which - 1 : which] if not until(grid) else []
            return pull([name for name in names if name not in held])

        grid.push_messages, grid.pull_messages = pushed, pulled

    return before


def count(grid: FakeGrid, kind: str, node: int | None = None) -> int:
    """Messages of a kind that were sent, to a node or to all."""
    return sum(k == kind and node in (None, at) for at, k in grid.sent)
