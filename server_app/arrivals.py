"""A reply on its way from the SuperLink: looked at before it is put together.

Flower's own pull waits for one reply while all others stand, and puts together whatever a reply
names: 5 MB that name one chunk six hundred times become gigabytes. Here a reply is pulled once
its last part is there, and its parts are counted first (`fedpatchcore.wire.bounds`). Whatever is
raised here, but for the SuperLink's own errors, is the fault of that one reply.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import httpx
from flwr.app import Array, Message
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
)
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_head_values_from_object_content,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.superlink.grid.http_grid import HttpGrid

from fedpatchcore.aggregation.memory import machine_memory
from fedpatchcore.errors import CoresetError
from fedpatchcore.wire.bounds import HEADS, MESSAGE, PARTS
from fedpatchcore.wire.encoding.allowance import Allowance

__all__ = ["Arrivals", "put_together"]

AT_ONCE = 2  # parts pulled side by side, as Flower does
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0


@dataclass
class _Claimed:
    """A reply that the SuperLink has handed out: its own id, and those of all its parts.

    Attributes:
        missing: the part that was not there when it was last looked for.
        next: when it is looked for again (monotonic seconds).
    """

    name: str
    parts: list[str]
    missing: str
    pause: float = FIRST_PAUSE
    next: float = 0.0


class Arrivals:
    """Replies of a SuperLink, one at a time.

    Args:
        most: bytes of one reply; otherwise what half of this machine's memory has room for.
    """

    def __init__(self, grid: HttpGrid, *, most: int = 0) -> None:
        self._grid = grid
        self._most = most or min(MESSAGE, machine_memory() // 2)
        self._claimed: dict[str, _Claimed] = {}

    def pull(self, message_id: str) -> list[Message]:
        """The reply to a message; none as long as not all of it is there.

        Raises:
            httpx.HTTPError: the SuperLink's; it may be asked again.
            Exception: the reply cannot be used. It is not kept.
        """
        if message_id not in self._claimed and not self._claim(message_id):
            return []
        claimed = self._claimed[message_id]
        try:
            contents = self._contents(claimed)
            reply = None if contents is None else put_together(claimed.name, contents)
        except httpx.HTTPError:
            raise
        except Exception:
            self._done(message_id)
            raise
        if reply is None:
            return []
        self._done(message_id)
        return [reply]

    @property
    def _client(self):
        return self._grid._runtime_client

    def _claim(self, message_id: str) -> bool:
        """Take a reply over from the SuperLink, if it has one. It hands each out once."""
        told = self._client.PullMessages(PullAppMessagesRequest(message_ids=[message_id]))
        for message, tree in zip(told.messages_list, told.message_object_trees, strict=True):
            if message.metadata.reply_to_message_id == message_id:
                name = message.metadata.message_id
                parts = list(dict.fromkeys(one.object_id for one in iterate_object_tree(tree)))
                # a site sends a reply's own head last, so nothing is pulled before that is there
                self._claimed[message_id] = _Claimed(name, parts, missing=name)
                return True
        return False

    def _contents(self, claimed: _Claimed) -> dict[str, bytes] | None:
        """All parts, or None if one is not there yet. Raises CoresetError for too much."""
        if len(claimed.parts) > PARTS:
            raise CoresetError(
                f"it is of {len(claimed.parts):,} parts, at most {PARTS:,} are taken"
            )
        if time.monotonic() < claimed.next:
            return None
        if self._part(claimed.missing) is None:
            return self._later(claimed, claimed.missing)
        contents, size = {}, 0
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            parts = zip(claimed.parts, pool.map(self._part, claimed.parts), strict=True)
            for one, content in parts:
                if content is None:
                    return self._later(claimed, one)
                size += len(content)
                if size > self._most:
                    raise CoresetError(
                        f"it is of more than {self._most / 1e9:.3g} GB, the most that is taken "
                        "here: ask for fewer rows (coreset-size), or send them shorter (wire)"
                    )
                contents[one] = content
        finally:
            pool.shutdown(cancel_futures=True)
        return contents

    def _later(self, claimed: _Claimed, missing: str) -> None:
        claimed.missing = missing
        claimed.next = time.monotonic() + claimed.pause
        claimed.pause = min(2 * claimed.pause, LONGEST_PAUSE)

    def _part(self, name: str) -> bytes | None:
        """One part; None if it is not there yet. Raises CoresetError if it never will be."""
        told = self._client.PullObject(
            PullObjectRequest(node=self._grid.node, run_id=self._grid.run.run_id, object_id=name)
        )
        if not told.object_found:
            raise CoresetError("it was not sent to its end")
        return told.object_content if told.object_available else None

    def _done(self, message_id: str) -> None:
        """Let the SuperLink forget the reply, whatever was made of it."""
        claimed = self._claimed.pop(message_id)
        with suppress(httpx.HTTPStatusError):  # it forgets it at the end of the run
            self._client.ConfirmMessageReceived(
                ConfirmMessageReceivedRequest(
                    node=self._grid.node,
                    run_id=self._grid.run.run_id,
                    message_object_id=claimed.name,
                )
            )


def put_together(name: str, contents: dict[str, bytes]) -> Message:
    """The message of these parts, which are used up.

    Raises:
        CoresetError: it would take more memory than it is worth, or is no reply.
        Exception: whatever damaged parts make of Flower's readers.
    """
    _measure(contents)
    message = inflate_object_from_contents(name, contents)
    if not isinstance(message, Message):
        raise CoresetError(f"it is no message but of the kind {type(message).__name__}")
    return message


def _measure(contents: Mapping[str, bytes]) -> None:
    """Raise CoresetError if the arrays would take much more memory than came."""
    sizes: dict[str, int] = {}
    arrays: list[tuple[bytes, list[str]]] = []
    heads = 0
    for name, content in contents.items():
        kind, children, _ = get_object_head_values_from_object_content(content)
        if kind == "ArrayChunk":
            sizes[name] = len(content)
            continue
        heads += len(content)
        if kind == "Array":
            arrays.append((content, children))
    if heads > HEADS:
        raise CoresetError(
            f"its texts and figures are of {heads:,} bytes, at most {HEADS:,} are taken"
        )
    purse = Allowance(sum(sizes.values()))
    for content, children in arrays:
        named = json.loads(get_object_body(content, Array))["arraychunk_ids"]
        try:
            purse.spend(sum(sizes[children[at]] for at in named))
        except ValueError as error:
            raise CoresetError(str(error)) from None
