"""Settings of what travels."""

from __future__ import annotations

from typing import ClassVar, Literal

from fedpatchcore.settings import Settings, setting

__all__ = ["WireSettings"]


class WireSettings(Settings):
    """How rows travel."""

    title: ClassVar[str] = "Wire (docs/wire.md)"

    max_products: int = setting(
        2000, "products that one site may bring; with more it is refused", ge=1, le=10_000
    )
    wire: Literal["float32", "float16", "int8", "pq"] = setting(
        "float32", "rows on the network: float32 is exact, the others state their error"
    )
