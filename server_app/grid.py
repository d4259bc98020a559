"""A Grid whose replies arrive one at a time and whose waiting ends.

`Strategy.start` passes on whatever ``send_and_receive`` returns; a generator there lets the
server take each coreset in and let go of its message before the next one is pulled.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from flwr.app import Message
from flwr.serverapp import Grid

__all__ = ["StreamingGrid"]

POLL_SECONDS = 0.5


class StreamingGrid(Grid):
    """Wraps Flower's grid; everything but ``send_and_receive`` passes through.

    Attributes:
        unanswered: node ids that had not replied when the last stream ended.
    """

    def __init__(self, grid: Grid, *, poll: float = POLL_SECONDS) -> None:
        self.grid = grid
        self.poll = poll
        self.unanswered: list[int] = []
        self._node_of: dict[str, int] = {}

    def set_run(self, run) -> None:
        self.grid.set_run(run)

    @property
    def run(self):
        return self.grid.run

    def create_message(self, *args, **kwargs) -> Message:
        return self.grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> list[int]:
        return list(self.grid.get_node_ids())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.grid.pull_messages(message_ids)

    def node_of(self, reply: Message) -> int:
        """The node a reply belongs to; an error made by the SuperLink has no source of its own."""
        asked = self._node_of.get(reply.metadata.reply_to_message_id)
        return reply.metadata.src_node_id if asked is None else asked

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send now; yield each reply as it comes, until all are in or ``timeout`` seconds pass."""
        messages = list(messages)
        nodes = [message.metadata.dst_node_id for message in messages]
        ids = list(self.grid.push_messages(messages)) if messages else []
        self._node_of = dict(zip(ids, nodes, strict=True))
        end = float("inf") if timeout is None else time.monotonic() + timeout
        return self._stream(end)

    def _stream(self, end: float) -> Iterator[Message]:
        waiting = dict(self._node_of)
        self.unanswered = list(waiting.values())
        while waiting:
            arrived = False
            for message_id in list(waiting):
                for reply in self.grid.pull_messages([message_id]):
                    arrived = True
                    self.unanswered.remove(waiting.pop(message_id))
                    yield reply
                    del reply
            if time.monotonic() >= end:
                return
            if waiting and not arrived:
                time.sleep(self.poll)
