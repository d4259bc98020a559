"""What pages need of a request: its room; who asks and what, as all pages do."""

from __future__ import annotations

from starlette.requests import Request

from fedpatchcore.control.room import Room
from fedpatchcore.web.asked import actor_of, caller_of, form_of, numbers, within

__all__ = ["actor_of", "caller_of", "form_of", "numbers", "room_of", "within"]


def room_of(request: Request) -> Room:
    """The room that this application shows."""
    return request.app.state.room
