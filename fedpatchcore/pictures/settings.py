"""Settings of the pictures."""

from __future__ import annotations

from typing import ClassVar

from fedpatchcore.settings import Settings, setting

__all__ = ["PictureSettings"]


class PictureSettings(Settings):
    """How many pictures a run leaves."""

    title: ClassVar[str] = "Pictures"

    heatmaps: int = setting(3, "pictures per product and kind at each site; 0: none", ge=0, le=1000)
