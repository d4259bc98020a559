"""Who may do what at a station."""

from __future__ import annotations

from collections.abc import Mapping

from fedpatchcore.web.roles import OF_PEOPLE, OPEN, PUBLIC, Roles

__all__ = ["PUBLIC", "ROLES", "ROUTES", "TABLE", "allows"]

ROLES = ("camera", "viewer", "inspector", "lead", "admin")  # each may what those before it may

ROUTES: Mapping[tuple[str, str], str] = {
    **OPEN,
    # a program with a key: it hands images in and gets verdicts
    ("POST", "/v1/inspect"): "camera",
    ("GET", "/v1/health"): "camera",
    ("GET", "/v1/inspections"): "camera",
    ("GET", "/v1/inspections/{number}"): "camera",
    ("GET", "/metrics"): "camera",
    ("POST", "/logout"): "camera",
    ("GET", "/live"): "viewer",
    # look
    ("GET", "/v1/inspections/{number}/{kind}.png"): "viewer",
    ("GET", "/"): "viewer",
    ("POST", "/language"): "viewer",
    ("GET", "/stopped"): "viewer",
    ("GET", "/checks"): "viewer",
    ("GET", "/v1/rates"): "viewer",
    ("GET", "/parts/{number}"): "viewer",
    ("GET", "/parts/{number}/{kind}.jpg"): "viewer",
    ("GET", "/parts/{number}/why/{at}/{side}.jpg"): "viewer",
    ("GET", "/history"): "viewer",
    ("GET", "/history.csv"): "viewer",
    ("GET", "/banks"): "viewer",
    ("GET", "/watch"): "viewer",
    ("GET", "/watch/{number}/training/{at}.jpg"): "viewer",
    # say whether the station was right
    ("POST", "/parts/{number}/word"): "inspector",
    ("POST", "/parts/{number}/undo"): "inspector",
    ("POST", "/parts/undo"): "inspector",
    ("POST", "/watch/{number}/mended"): "inspector",
    # what teaches, and what is usual
    ("POST", "/watch/{number}/usual"): "lead",
    ("POST", "/thresholds/accept"): "lead",
    ("POST", "/thresholds/back"): "lead",
    ("POST", "/banks/back"): "lead",
    ("POST", "/banks/newer"): "lead",
    ("POST", "/parts/{number}/teach"): "lead",
    ("POST", "/parts/{number}/unteach"): "lead",
    # who may come in
    **OF_PEOPLE,
}

TABLE = Roles(ROLES, ROUTES, frozenset({("POST", "/v1/inspect")}))
allows = TABLE.allows
