"""Settings of the coreset: how many patches stand for all, and which."""

from __future__ import annotations

from typing import ClassVar, Literal

from fedpatchcore.settings import Settings, setting

__all__ = ["CoresetSettings"]

TILES = 2.0  # GB


class CoresetSettings(Settings):
    """Which patches a site keeps."""

    title: ClassVar[str] = "Coreset"

    coreset: Literal["k-center", "random"] = setting(
        "k-center", "k-center: each pick the patch farthest from all picks so far"
    )
    coreset_size: int = setting(0, "rows a site ships per section; 0: by ratio", ge=0)
    coreset_ratio: float = setting(
        0.01, "share of the patches, where coreset-size is 0", gt=0, le=1
    )
    memory_budget: float = setting(
        0.0,
        "GB for a section's patch features at a site; beyond it they are selected from in blocks, "
        "and the reply says what that costs; 0: all in memory, of pictures cut into tiles 2 GB",
        ge=0,
    )
    seed: int = setting(0, "of every selection (never of privacy noise)", ge=0, lt=2**32)

    def budget_bytes(self, *, tiled: bool) -> int:
        """Bytes of the budget, 0 if all is held in memory; ``tiled``: of large pictures cut up."""
        return int(1e9 * (self.memory_budget or (TILES if tiled else 0)))
