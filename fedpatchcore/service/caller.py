"""Who is at the other end of a Unix socket, by the kernel's word."""

from __future__ import annotations

import pwd
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["Caller", "user_name"]

CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class Caller:
    """A process and its user (SO_PEERCRED, unix(7)).

    Attributes:
        pid: 0 where this process cannot see it (another container).
        uid: number of its user.
    """

    pid: int
    uid: int

    @classmethod
    def of(cls, connection: socket.socket) -> Caller:
        """The other end of a connection; of a listener, who called listen."""
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, uid, _ = CREDENTIALS.unpack(told)
        return cls(pid, uid)

    def __str__(self) -> str:
        return f"user {user_name(self.uid)}" + (f", process {self.pid}" if self.pid else "")


def user_name(uid: int) -> str:
    """The user's name, or the number where the system has no name for it."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)
