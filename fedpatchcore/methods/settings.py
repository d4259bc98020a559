"""The setting that chooses the method."""

from __future__ import annotations

from typing import ClassVar

from fedpatchcore.methods.registry import METHODS, Method
from fedpatchcore.settings import Settings, setting

__all__ = ["MethodSettings"]


class MethodSettings(Settings):
    """How sites come to one notion of normal."""

    title: ClassVar[str] = "Method"

    method: str = setting(
        "patchcore", "how sites come to one notion of normal (docs/methods.md)", words=METHODS
    )

    @property
    def kind(self) -> Method:
        """What the method is."""
        return METHODS[self.method]

    @property
    def customary_rate(self) -> float:
        """The learning rate of local steps where none is set."""
        return self.kind.rate
