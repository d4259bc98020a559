"""A SuperLink's Runtime API without a SuperLink: replies as the parts that a site uploaded."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from flwr.app import Message
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse, PushObjectResponse
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import (
    GetNodesResponse,
    PullAppMessagesResponse,
    PushAppMessagesResponse,
)
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

__all__ = ["FakeSuperLink"]

TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


class FakeSuperLink:
    """What `HttpGrid` calls; a reply is put in with `answers`.

    Attributes:
        store: parts by name; b"" = promised and not there yet.
        sick: names of parts for which it answers 500; ``down``: for whatever is pulled.
    """

    def __init__(self, nodes: list[int]) -> None:
        self.nodes = nodes
        self.store: dict[str, bytes] = {}
        self.sick: set[str] = set()
        self.down = False
        self.forgotten: list[str] = []
        self.pulled: list[str] = []
        self._replies: dict[str, tuple[str, list[str]]] = {}

    def grid(self) -> HttpGrid:
        made = HttpGrid(insecure=True, token="token")
        made._client = self  # its calls, without the network
        made.set_run(Run.create_empty(1))
        return made

    def answers(self, asked: Message, parts: Mapping[str, bytes]) -> str:
        """Put the parts of a reply in; the last is its head, whose name is returned."""
        self.store |= parts
        name = list(parts)[-1]
        self._replies[asked.metadata.message_id] = (name, list(parts))
        return name

    def GetNodes(self, request) -> GetNodesResponse:
        return GetNodesResponse(nodes=[NodeInfo(node_id=one) for one in self.nodes])

    def PushMessages(self, request) -> PushAppMessagesResponse:
        ids = [one.metadata.message_id for one in request.messages_list]
        return PushAppMessagesResponse(message_ids=ids)

    def PushObject(self, request) -> PushObjectResponse:
        return PushObjectResponse(stored=True)

    def PullMessages(self, request) -> PullAppMessagesResponse:
        self._stumble(self.down)
        told = PullAppMessagesResponse()
        for asked in request.message_ids:
            if asked in self._replies:  # handed out once
                name, parts = self._replies.pop(asked)
                head = told.messages_list.add()
                head.metadata.message_id, head.metadata.reply_to_message_id = name, asked
                tree = ObjectTree(object_id=name)
                tree.children.extend(ObjectTree(object_id=one) for one in parts if one != name)
                told.message_object_trees.append(tree)
        return told

    def PullObject(self, request) -> PullObjectResponse:
        self.pulled.append(request.object_id)
        self._stumble(request.object_id in self.sick)
        content = self.store.get(request.object_id)
        return PullObjectResponse(
            object_found=content is not None,
            object_available=bool(content),
            object_content=content or b"",
        )

    def ConfirmMessageReceived(self, request) -> None:
        self.forgotten.append(request.message_object_id)

    def _stumble(self, here: bool) -> None:
        if here:
            asked = httpx.Request("POST", "http://superlink/v1/runtime")
            httpx.Response(500, request=asked).raise_for_status()
