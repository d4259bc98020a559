"""Frames between a site's node and its worker: a short head, then so many bytes.

    4 bytes  "FPCW"
    1 byte   version of this protocol
    1 byte   kind
    2 bytes  0
    8 bytes  length of the body, little-endian

A body is JSON, or for requests and answers values and arrays (`bodies`). A receiver states the
largest body it takes, refuses a larger one by its head, and makes room as the bytes come, not for
what is merely announced.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from fedpatchcore.errors import WorkerAway, WorkerError
from fedpatchcore.service.bodies import Buffer, unpack_body

__all__ = [
    "LARGEST_TOLD",
    "PROTOCOL",
    "Frame",
    "Kind",
    "read_frame",
    "write_frame",
]

MAGIC, PROTOCOL = b"FPCW", 1
HEAD = struct.Struct("<4sBBHQ")
LARGEST_TOLD = 1 << 20  # bytes of a body that is JSON alone
STEP = 1 << 20  # bytes taken in at a time
SLOWEST = 1 << 20  # bytes a second, on average: slower is as good as silent
TICK = 0.01  # seconds


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1  # worker → node, once connected: who this is, or a refusal follows
    REQUEST = 2  # node → worker
    PROGRESS = 3  # worker → node, any number of times
    ANSWER = 4  # worker → node, the last
    REFUSED = 5  # worker → node, the last: {"reason", "again", "ends"}
    CANCEL = 6  # node → worker: nobody waits for the answer any longer
    HEALTH = 7  # node → worker
    STATE = 8  # worker → node, the last


WITH_ARRAYS = (Kind.REQUEST, Kind.ANSWER)


@dataclass(frozen=True)
class Frame:
    """One frame as it came; of a body without arrays ``arrays`` is empty."""

    kind: Kind
    told: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


def write_frame(
    to: socket.socket,
    kind: Kind,
    told: Mapping[str, Any] | None = None,
    body: Buffer | Sequence[Buffer] | None = None,
) -> None:
    """Send a frame, its body whole or in pieces. Raises OSError if the other side is gone."""
    if body is None:
        body = json.dumps(told or {}).encode()
    pieces = [body] if isinstance(body, Buffer) else body
    to.sendall(HEAD.pack(MAGIC, PROTOCOL, kind, 0, sum(map(len, pieces))))
    for piece in pieces:
        to.sendall(piece)


def read_frame(of: socket.socket, *, largest: int = LARGEST_TOLD) -> Frame:
    """The next frame.

    Args:
        largest: bytes of a body with arrays; others may have `LARGEST_TOLD`.

    Raises:
        WorkerAway: the other side closed, or fell silent for the socket's timeout, or trickles.
        WorkerError: it is no frame, of another version of the protocol, or too large.
    """
    magic, version, number, _, length = HEAD.unpack(_exactly(of, HEAD.size))
    if magic != MAGIC:
        raise WorkerError("what came over the worker's socket is no message of FedPatchCore")
    if version != PROTOCOL:
        raise WorkerError(
            f"worker and node speak different protocols ({version}, here {PROTOCOL}): install one "
            "version of fedpatchcore for both and start both again"
        )
    try:
        kind = Kind(number)
    except ValueError:
        raise WorkerError(f"a frame of unknown kind {number}") from None
    most = largest if kind in WITH_ARRAYS else LARGEST_TOLD
    if length > most:
        raise WorkerError(
            f"a message of {length:,} bytes; {most:,} is the most taken here (largest-message)"
        )
    body = _exactly(of, length)
    if kind in WITH_ARRAYS:
        return Frame(kind, *unpack_body(body))
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise WorkerError("a message between node and worker is damaged")
    return Frame(kind, told, {})


def _exactly(of: socket.socket, count: int) -> bytearray:
    """So many bytes, once; memory grows as they come. A trickle holds nobody for ever."""
    silence = of.gettimeout()
    patience = float("inf") if silence is None else silence + count / SLOWEST
    until, found = time.monotonic() + patience, bytearray()
    try:
        while len(found) < count:
            if silence is not None:
                of.settimeout(max(TICK, min(silence, until - time.monotonic())))
            piece = of.recv(min(STEP, count - len(found)))
            if not piece:
                raise WorkerAway("the other side of the worker's socket closed it")
            found += piece
            if time.monotonic() > until and len(found) < count:
                raise TimeoutError
    except TimeoutError:
        raise WorkerAway("the other side of the worker's socket fell silent") from None
    except OSError as error:
        raise WorkerAway(f"the worker's socket broke ({error.strerror or error})") from None
    finally:
        of.settimeout(silence)
    return found
