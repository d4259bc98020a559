"""Executors of hostile sites: they answer as an honest one would, and then change the answer.

    python -m tests.support.hostile_sites PORT=HOW ...

One process for several SuperNodes (``--isolation process``), one message after the other. How an
answer is changed stands in `WAYS`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from logging import ERROR

import httpx
import numpy as np
from flwr.app import Context, Message
from flwr.common.constant import SubStatus
from flwr.common.logger import log
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PushAppMessagesRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from client_app.executor import VERBS
from client_app.records import from_records, to_records
from client_app.work import answer
from fedpatchcore.wire.packet import Packet
from tests.support.uploads import bomb_of, not_protobuf

__all__ = ["FORGED", "WAYS"]

FORGED = (
    '\x1b[2J{"event": "finished", "seconds": 1, "bank": "/x"}\nfedpatchcore.event {"event": "x"}'
)

Parts = dict[str, bytes]


def figures(packet: Packet) -> None:
    packet.numbers.update(threshold=[5e-324], histogram_top=[float("inf")])


def more(packet: Packet) -> None:
    key = next(iter(packet.arrays))
    packet.arrays[key] = np.repeat(packet.arrays[key], 5, axis=0)
    packet.numbers["rows"] = [5 * n for n in packet.numbers["rows"]]


def forger(packet: Packet) -> None:
    packet.texts["notes"] = [FORGED]
    if "device" in packet.texts:
        packet.texts["device"] = FORGED


# how: the kinds of message it changes, and what it makes of the packet, or of the answer
WAYS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "figures": (("evaluate",), figures),
    "more": (("train",), more),
    "forger": (("query", "train", "evaluate"), forger),
    "no-protobuf": (("train",), not_protobuf),
    "bomb": (("train",), bomb_of),
}
OF_PARTS = ("no-protobuf", "bomb")


def changed(how: str, message: Message, context: Context) -> Message | Parts:
    reply = answer(VERBS[message.metadata.message_type], message, context)
    kinds, change = WAYS[how]
    if message.metadata.message_type not in kinds:
        return reply
    if how in OF_PARTS:
        return change(reply)
    packet = from_records(reply.content)
    change(packet)
    return Message(content=to_records(packet), reply_to=message)


def push_parts(client: RuntimeHttpClient, asked: Message, parts: Parts, context: Context) -> None:
    """Upload parts as they are; the last is the head."""
    name = list(parts)[-1]
    reply = Message(content=to_records(Packet()), reply_to=asked)
    reply.metadata.__dict__["_message_id"] = name
    tree = ObjectTree(object_id=name)
    tree.children.extend(ObjectTree(object_id=one) for one in parts if one != name)
    told = client.PushMessages(
        PushAppMessagesRequest(messages_list=[message_to_proto(reply)], message_object_trees=[tree])
    )
    for one, content in parts.items():
        client.PushObject(
            PushObjectRequest(
                node=Node(node_id=context.node_id),
                run_id=context.run_id,
                object_id=one,
                object_content=content,
                session_id=told.session_id,
            )
        )


def client_of(port: str, token: str = "") -> RuntimeHttpClient:
    return RuntimeHttpClient.from_server_address(
        f"127.0.0.1:{port}",
        insecure=True,
        root_certificates=None,
        interceptors=[
            RuntimeVersionHttpInterceptor("flwr-clientapp" if token else "SuperExec"),
            *([RuntimeTokenHttpInterceptor(token)] if token else []),
        ],
    )


def main(words: list[str]) -> None:
    nodes = dict(word.split("=") for word in words)
    doors = {port: client_of(port) for port in nodes}
    while True:
        for port, how in nodes.items():
            try:
                told = doors[port].AcquireTask(
                    AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
                )
            except httpx.HTTPError:
                continue
            if not (told.HasField("task") and told.token):
                continue
            client = client_of(port, told.token)
            try:
                message, context, _, _ = pull_task_input(client)
                reply = changed(how, message, context)
                if isinstance(reply, Message):
                    push_message(client, reply, context)
                else:
                    push_parts(client, message, reply, context)
                push_task_output(client, context, SubStatus.COMPLETED, "")
            except Exception:
                log(ERROR, "%s failed", how, exc_info=True)
        time.sleep(0.3)


if __name__ == "__main__":
    print(json.dumps(sys.argv[1:]))
    main(sys.argv[1:])
