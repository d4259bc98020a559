"""The station's look: its own templates over those that all pages have."""

from __future__ import annotations

from fedpatchcore.station.roles import allows
from fedpatchcore.web.render import Look

__all__ = ["LOOK"]

LOOK = Look("fedpatchcore.station", own=("station.css", "station.js"), more={"allows": allows})
