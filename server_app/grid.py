"""A Grid whose replies arrive one at a time, whose waiting ends, and who asks again.

`Strategy.start` passes on whatever ``send_and_receive`` returns; a generator there lets the
server take each coreset in and let go of its message before the next one is pulled. Whatever is
raised while one reply is pulled becomes an error in that reply's place.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from logging import WARNING
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.superlink.grid.http_grid import HttpGrid

from fedpatchcore.errors import FedPatchCoreError, RunError
from fedpatchcore.server.names import Key
from fedpatchcore.texts import one_line
from server_app.arrivals import Arrivals
from server_app.replies import UNREADABLE

__all__ = ["StreamingGrid"]

POLL_SECONDS = 0.5
WENT_AWAY = (5, 8)  # Flower's codes: the node is offline; the ClientApp process died
TIMES_ASKED_AGAIN = 2
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
        self._stumbled = {}
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

    def _stream(self, end: float) -> Iterator[Message]:
        try:
            yield from self._replies(dict(self._node_of), _Gone(self.rejoin, end), end)
        finally:
            self._sent = {}  # they hold the bank that was sent

    def _replies(self, waiting: dict[str, int], gone: _Gone, end: float) -> Iterator[Message]:
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
            if gone:
                for node in gone.back(self.get_node_ids()):
                    self.tell(node, "back", "")
                    waiting[self._ask_again(node, end)] = node
                for node, reply in gone.given_up():
                    self.unanswered.remove(node)
                    yield reply
            if time.monotonic() >= end:
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


class _Gone:
    """Nodes that went away in the middle of a message, and how long each is waited for."""

    def __init__(self, rejoin: float, end: float) -> None:
        self._rejoin = rejoin
        self._end = end
        self._replies: dict[int, tuple[Message, float]] = {}
        self._times: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._replies)

    def takes(self, node: int, reply: Message) -> bool:
        """Whether this reply says that the node went away and it shall be waited for."""
        if not self._rejoin or not reply.has_error() or reply.error.code not in WENT_AWAY:
            return False
        if self._times[node] == TIMES_ASKED_AGAIN:
            return False
        until = min(self._end, time.monotonic() + self._rejoin)
        self._replies[node] = (reply, until)
        return True

    def back(self, online: Iterable[int]) -> list[int]:
        """Nodes that are online again; they are no longer waited for."""
        found = [node for node in online if node in self._replies]
        for node in found:
            del self._replies[node]
            self._times[node] += 1
        return found

    def given_up(self) -> list[tuple[int, Message]]:
        """Nodes whose time is over, with the reply that told of their end."""
        now = time.monotonic()
        over = [node for node, (_, until) in self._replies.items() if now >= until]
        return [(node, self._replies.pop(node)[0]) for node in over]
