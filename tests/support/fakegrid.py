"""A Flower Grid without Flower's processes: the real ClientApp called in this process.

Lets a test misbehave at any point between server and site: a node that is absent, silent,
dead, or whose reply is altered on the way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

__all__ = ["FakeGrid"]

TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


class FakeGrid(Grid):
    """Nodes by id with their node-config; ``online`` may change between rounds.

    Args:
        alter: gets (node, kind of message, reply) and returns the reply to deliver, an `Error`,
            or None for silence.
    """

    def __init__(
        self,
        app: ClientApp,
        nodes: Mapping[int, Mapping],
        run_config: Mapping,
        alter: Callable[[int, str, Message], Message | Error | None] = lambda n, k, reply: reply,
    ) -> None:
        self.app = app
        self.nodes = dict(nodes)
        self.online = set(nodes)
        self.run_config = dict(run_config)
        self.alter = alter
        self.sent: list[tuple[int, str]] = []
        self._replies: dict[str, Message] = {}
        self._ids = itertools.count(1)

    def set_run(self, run) -> None: ...

    @property
    def run(self):
        return None

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def get_node_ids(self) -> list[int]:
        return sorted(self.online)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._deliver(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(self, messages, *, timeout=None):
        return self.pull_messages(self.push_messages(messages))

    def _deliver(self, message: Message) -> str:
        message_id = str(next(self._ids))
        message.metadata.__dict__["_message_id"] = message_id
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        self.sent.append((node, kind))
        context = Context(
            run_id=1,
            node_id=node,
            node_config=dict(self.nodes[node]),
            state=RecordDict(),
            run_config=self.run_config,
        )
        reply = self.alter(node, kind, self.app(message, context))
        if isinstance(reply, Error):
            reply = Message(reply, reply_to=message)
        if reply is not None:
            reply.metadata.__dict__["_reply_to_message_id"] = message_id
            self._replies[message_id] = reply
        return message_id
