"""A request that is refused: one line, with its HTTP status."""

from __future__ import annotations

from fedpatchcore.errors import ControlError, FedPatchCoreError

__all__ = ["Refused", "status_of"]


class Refused(ControlError):
    """What is asked for is refused, with this HTTP status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def status_of(error: FedPatchCoreError) -> int:
    """HTTP status of an error of ours: what is not said otherwise is the request's fault."""
    return getattr(error, "status", 400)
