"""Settings of the bank: how large it may be and what a section of it is."""

from __future__ import annotations

from typing import ClassVar, Literal

from fedpatchcore.settings import Settings, setting

__all__ = ["BankSettings"]


class BankSettings(Settings):
    """What a memory bank holds."""

    title: ClassVar[str] = "Memory bank"

    global_bank_size: int = setting(10_000, "rows a section at most", ge=1)
    sections: Literal["product", "shared"] = setting(
        "product", "product: one section a product; shared: one for all"
    )
