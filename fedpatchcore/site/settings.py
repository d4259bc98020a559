"""Settings of a site's own comparisons."""

from __future__ import annotations

from typing import ClassVar

from fedpatchcore.settings import Settings, setting

__all__ = ["SiteSettings"]


class SiteSettings(Settings):
    """What a site does beside its part of the bank."""

    title: ClassVar[str] = "At a site"

    compare_local: bool = setting(True, "also score with each site's own bank, for comparison")
