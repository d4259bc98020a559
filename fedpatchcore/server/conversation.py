"""What the server and its sites say to each other beside rounds: several questions, one result."""

from __future__ import annotations

from typing import Any, Protocol

from fedpatchcore.wire.packet import Packet

__all__ = ["Conversation"]


class Conversation(Protocol):
    """What is asked, exchange by exchange, until it has no name for the next one."""

    what: str  # in words
    kind: str  # of Flower's messages
    phase: str  # of the round that its bytes belong to
    number: int

    @property
    def exchange(self) -> str: ...

    @property
    def asked(self) -> tuple[str, ...]: ...

    def question(self, site: str) -> Packet: ...

    def take(self, packet: Packet, site: str) -> None: ...

    def without(self, site: str, reason: str) -> None: ...

    def close(self) -> None: ...

    def finish(self) -> dict[str, Any]: ...
