"""Around all answers: names that this place answers to, and what a browser is told to hold to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LOOPBACK", "POLICY", "Door"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with none at all browsers send forms with an origin of null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Door:
    """Refuses names that are not ours (a foreign page that had its name point here), adds headers.

    Args:
        names: host names without port; what else a browser asks for is refused.
        tls: answers go over TLS, and browsers are told to insist on it.
        answered: told the status of each answer, and the seconds until its head was there.
    """

    def __init__(
        self,
        app: ASGIApp,
        names: Iterable[str],
        *,
        tls: bool,
        answered: Callable[[int, float], None] = lambda status, seconds: None,
    ) -> None:
        self.app = app
        self.answered = answered
        self.names = {name.lower() for name in names}
        self.extra = {"strict-transport-security": "max-age=31536000"} if tls else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        begun = time.perf_counter()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.answered(message["status"], time.perf_counter() - begun)
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, **self.extra}.items():
                    headers.setdefault(name, value)
            await send(message)

        told = [value for name, value in scope["headers"] if name == b"host"]
        if len(told) != 1 or not self._ours(told[0].decode("latin-1")):
            answer = PlainTextResponse("this name is not ours: see --name\n", 421)
            await answer(scope, receive, sent)
            return
        await self.app(scope, receive, sent)

    def _ours(self, host: str) -> bool:
        name, colon, port = host.lower().rpartition(":")
        if not colon or not port.isdigit():
            name = host.lower()
        return name in self.names
