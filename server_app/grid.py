"""A Grid whose replies arrive one at a time, whose waiting ends, and who asks again.

`Strategy.start` passes on whatever ``send_and_receive`` returns; a generator there lets the
server take each coreset in and let go of its message before the next one is pulled. Whatever is
raised while one reply is pulled becomes an error in that reply's place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from logging import WARNING
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from flwr.app import Error, Message, MessageType, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.superlink.grid.http_grid import HttpGrid

from fedpatchcore.errors import FedPatchCoreError, RunError
from fedpatchcore.server.names import Key
from fedpatchcore.server.waiting import Gone, Late
from fedpatchcore.texts import one_line
from server_app.arrivals import Arrivals
from server_app.replies import UNREADABLE

__all__ = ["StreamingGrid"]

POLL_SECONDS = 0.5
PATIENCE_SECONDS, PAUSE_SECONDS = 120.0, 2.0


class StreamingGrid(Grid):
    """Wraps Flower's grid; everything but ``send_and_receive`` passes through.

    A node that goes away with a message in its hands (its SuperNode or its ClientApp process
    died) is asked again when it is back, if that is within ``rejoin`` seconds and before the
    phase ends; only then does its failure count.

    Args:
        rejoin: seconds a node that went away is waited for; 0 = not at all.
        tell: told the node and "gone" or "back".

    Attributes:
        instead: may give what a node is sent after a certain answer; its answer to that is then
            waited for in place of the first.
        unanswered: node ids that had not replied when the last stream ended.
        enough: whether a phase need not wait for who has not replied; ``late`` these are then, and
            in the stream of a phase that ``takes_late``.
        round: number of the round that messages are of.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        poll: float = POLL_SECONDS,
        rejoin: float = 0.0,
        tell: Callable[[int, str, str], None] = lambda node, what, reason: None,
    ) -> None:
        self.grid = grid
        self.poll = poll
        self.rejoin = rejoin
        self.tell = tell
        self.instead: Callable[[int, Message], RecordDict | None] = lambda node, reply: None
        self.enough: Callable[[], bool] = lambda: False
        self.late: dict[int, Late] = {}
        self.takes_late, self.round, self._began = False, 0, 0.0
        self._came: WeakKeyDictionary[Message, Late] = WeakKeyDictionary()
        self.pause = PAUSE_SECONDS
        self.unanswered: list[int] = []
        self._pull = Arrivals(grid).pull if isinstance(grid, HttpGrid) else self._pull_plainly
        self._node_of: dict[str, int] = {}
        self._answers: WeakKeyDictionary[Message, int] = WeakKeyDictionary()
        self._stumbled: dict[str, float] = {}
        self._sent: dict[int, Message] = {}
        self._flying: dict[str, Message] = {}

    def set_run(self, run) -> None:
        self.grid.set_run(run)

    @property
    def run(self):
        return self.grid.run

    def create_message(self, *args, **kwargs) -> Message:
        return self.grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> list[int]:
        return list(self._patiently(self.grid.get_node_ids))

    def keys(self) -> dict[int, Key]:
        """What the SuperLink knows of each node online."""
        nodes = self._patiently(self.grid.get_nodes)
        return {one.node_id: Key.of(one.public_key, one.name or "") for one in nodes}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.grid.pull_messages(message_ids)

    def _pull_plainly(self, message_id: str) -> Iterable[Message]:
        return self.grid.pull_messages([message_id])

    def _patiently(self, ask: Callable[..., Iterable[Any]], *words: Any) -> Iterable[Any]:
        """Ask the SuperLink; while it answers with an error of its own, ask again for a while.

        A SuperLink that is writing large messages to its database answers 500 now and then; that
        must not cost a run. Raises RunError after `PATIENCE_SECONDS`.
        """
        end, told = time.monotonic() + PATIENCE_SECONDS, False
        while True:
            try:
                return ask(*words)
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                if status < 500:
                    raise
                if time.monotonic() >= end:
                    raise RunError(
                        f"the SuperLink has answered {status} for {PATIENCE_SECONDS:g} s: see its "
                        "log; the run can be resumed"
                    ) from None
                if not told:
                    log(WARNING, "the SuperLink answers %s, asking again", status)
                told = True
                time.sleep(self.pause)

    def node_of(self, reply: Message) -> int:
        """The node that was asked what this answers, whatever the reply says of its source."""
        return self._answers[reply]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Send now; yield each reply as it comes, until all are in or ``timeout`` seconds pass."""
        messages = list(messages)
        self._sent = {message.metadata.dst_node_id: message for message in messages}
        ids = list(self.grid.push_messages(messages)) if messages else []
        self._node_of = dict(zip(ids, self._sent, strict=True))
        self._stumbled, self._began = {}, time.monotonic()
        end = float("inf") if timeout is None else time.monotonic() + timeout
        return self._stream(end)

    def send(self, message: Message) -> None:
        """Send now and wait for nothing: `arrived` gives the answer."""
        (message_id,) = self.grid.push_messages([message])
        self._flying[message_id] = head = copy(message)
        head.content = RecordDict()  # a bank may be in it, and another one in each

    def arrived(self) -> Iterator[Message]:
        """The answers to what was sent so that are there by now, one at a time."""
        for message_id, message in list(self._flying.items()):
            for reply in self._pulled(message_id):
                if (
                    self._flying.pop(message_id, None) is not None
                ):  # a second one counts for nothing
                    self._answers[reply] = message.metadata.dst_node_id
                    yield reply

    def forget(self, node: int) -> None:
        """Whatever a node still answers to what it was sent so counts for nothing."""
        flying = self._flying.items()
        self._flying = {i: one for i, one in flying if one.metadata.dst_node_id != node}

    def late_of(self, reply: Message) -> Late | None:
        """What a late answer is to; None for one of this phase."""
        return self._came.get(reply)

    def came_late(self) -> Iterator[Message]:
        """The answers of late nodes that are there by now; whose time is over is forgotten."""
        for node in [n for n, one in self.late.items() if time.monotonic() >= one.until]:
            del self.late[node]
            self.forget(node)
        for reply in self.arrived():
            self._came[reply] = self.late.pop(self._answers[reply])
            yield reply

    def _leave(self, waiting: dict[str, int], end: float) -> None:
        """The phase goes on without these nodes; their answers may come later."""
        for name, node in waiting.items():
            self._flying[name] = head = copy(self._sent[node])
            head.content = RecordDict()
            trains = head.metadata.message_type == MessageType.TRAIN
            self.late[node] = Late(self.round, trains, self._began, end)
            self.unanswered.remove(node)

    def _stream(self, end: float) -> Iterator[Message]:
        try:
            yield from self._replies(dict(self._node_of), Gone(self.rejoin, end), end)
        finally:
            self._sent = {}  # they hold the bank that was sent

    def _replies(self, waiting: dict[str, int], gone: Gone, end: float) -> Iterator[Message]:
        self.unanswered = list(waiting.values())
        while waiting or gone:
            arrived = False
            for message_id in list(waiting):
                for reply in self._pulled(message_id):
                    arrived = True
                    node = waiting.pop(message_id, None)
                    if node is None:
                        continue  # answered already: a second reply counts for nothing
                    self._answers[reply] = node
                    if gone.takes(node, reply):
                        self.tell(node, "gone", str(reply.error.reason))
                    elif (content := self.instead(node, reply)) is not None:
                        waiting[self._ask_again(node, end, content)] = node
                    else:
                        self.unanswered.remove(node)
                        yield reply
                    del reply
            if self.takes_late:
                yield from self.came_late()
            if gone:
                for node in gone.back(self.get_node_ids()):
                    self.tell(node, "back", "")
                    waiting[self._ask_again(node, end)] = node
                for node, reply in gone.given_up():
                    self.unanswered.remove(node)
                    yield reply
            if time.monotonic() >= end:
                return
            if self.enough():
                self._leave(waiting, end)
                for node, reply in gone.given_up(float("inf")):
                    self.unanswered.remove(node)
                    yield reply
                return
            if (waiting or gone) and not arrived:
                time.sleep(self.poll)

    def _pulled(self, message_id: str) -> list[Message]:
        """What has come in answer to a message; a reply that cannot be used becomes an error.

        Raises RunError if the SuperLink itself has answered with errors for `PATIENCE_SECONDS`.
        """
        try:
            found = list(self._pull(message_id))
        except httpx.HTTPStatusError as error:
            status, now = error.response.status_code, time.monotonic()
            if status >= 500 and message_id not in self._stumbled:
                log(WARNING, "the SuperLink answers %s, asking again", status)
            since = self._stumbled.setdefault(message_id, now)
            if status >= 500 and now - since < PATIENCE_SECONDS:
                return []
            self._patiently(self.grid.pull_messages, [])  # is it this reply, or the SuperLink?
            return [self._refusal(message_id, f"the SuperLink answers {status} to it")]
        except httpx.HTTPError:
            raise
        except MemoryError:
            return [self._refusal(message_id, "it takes more memory than the server has left")]
        except FedPatchCoreError as error:
            return [self._refusal(message_id, str(error))]
        except Exception as error:
            told = one_line(f"{type(error).__name__}: {error}", 300)
            return [self._refusal(message_id, f"it cannot be read ({told})")]
        self._stumbled.pop(message_id, None)
        return found

    def _refusal(self, message_id: str, reason: str) -> Message:
        asked = self._flying.get(message_id) or self._sent[self._node_of[message_id]]
        return Message(Error(UNREADABLE, reason), reply_to=asked)

    def _ask_again(self, node: int, end: float, content: RecordDict | None = None) -> str:
        """Send a node its message anew, or another; returns the new message's id."""
        first = self._sent[node]
        message = Message(
            content=first.content if content is None else content,
            dst_node_id=node,
            message_type=first.metadata.message_type,
            ttl=min(first.metadata.ttl, max(1.0, end - time.monotonic())),
        )
        (message_id,) = self.grid.push_messages([message])
        self._sent[node] = message
        self._node_of[message_id] = node
        return message_id
