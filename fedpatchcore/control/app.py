"""The web application: routes, each behind the guard; errors in one line."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from fedpatchcore.control.door import LOOPBACK, Door
from fedpatchcore.control.guard import LogInFirst, guard
from fedpatchcore.control.pages import PAGES
from fedpatchcore.control.refusals import status_of
from fedpatchcore.control.render import page
from fedpatchcore.control.room import Room
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.texts import one_line
from fedpatchcore.version import VERSION

__all__ = ["application"]


def application(room: Room, names: Iterable[str] = LOOPBACK) -> FastAPI:
    """All routes over one room; it answers to these names alone."""
    app = FastAPI(
        title="FedPatchCore control room",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(guard)],
    )
    app.state.room = room
    for one in PAGES:
        app.include_router(one)
    app.add_exception_handler(FedPatchCoreError, _ours)
    app.add_exception_handler(RequestValidationError, _no_such_value)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    app.add_middleware(Door, names=tuple(names), tls=room.tls, answered=room.counts.answered)
    return app


def _told(request: Request, status: int, words: str) -> Response:
    """One line, as JSON for programs and as a page for people."""
    if request.url.path.startswith("/api/") or "authorization" in request.headers:
        return JSONResponse({"error": words}, status)
    return page(request, "error.html.j2", status, words=words)


async def _ours(request: Request, error: FedPatchCoreError) -> Response:
    browser = "authorization" not in request.headers and not request.url.path.startswith("/api/")
    if isinstance(error, LogInFirst) and browser and "x-live" not in request.headers:
        return RedirectResponse(error.target, 303)
    return _told(request, status_of(error), str(error))


async def _no_such_value(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    name = ".".join(str(one) for one in first["loc"][1:])
    return _told(request, 422, one_line(f"{name}: {first['msg']}"))


async def _http(request: Request, error: HTTPException) -> Response:
    words = {404: "there is no such page", 405: "this page takes no such request"}
    return _told(request, error.status_code, words.get(error.status_code, one_line(error.detail)))


async def _unforeseen(request: Request, error: Exception) -> Response:
    return _told(
        request, 500, f"something went wrong here ({type(error).__name__}); the log has it"
    )
