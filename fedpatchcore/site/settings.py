"""Settings of a site's own comparisons."""

from __future__ import annotations

from typing import ClassVar

from fedpatchcore.settings import Settings, setting

__all__ = ["SiteSettings"]


class SiteSettings(Settings):
    """What a site does beside its part of the bank."""

    title: ClassVar[str] = "At a site"

    compare_local: bool = setting(True, "also score with each site's own bank, for comparison")
    planted_trials: int = setting(
        0,
        "defects a product that each site plants into good pictures, to tell which kinds, sizes "
        "and contrasts its threshold finds; 300 are enough for curves; 0: none",
        ge=0,
        le=20_000,
    )
