"""A web application: routes, each behind the guard; errors in one line."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.texts import one_line
from fedpatchcore.version import VERSION
from fedpatchcore.web.door import LOOPBACK, Door
from fedpatchcore.web.guard import LogInFirst, guard
from fedpatchcore.web.parts import Parts, parts_of
from fedpatchcore.web.refusals import status_of

__all__ = ["assembled"]

PROGRAMS = ("/api/", "/v1/")  # what is asked here is answered as JSON


def assembled(
    title: str, routers: Iterable[APIRouter], parts: Parts, names: Iterable[str] = LOOPBACK
) -> FastAPI:
    """All routes over the parts of one place; it answers to these names alone."""
    app = FastAPI(
        title=title,
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(guard)],
    )
    app.state.parts = parts
    for one in routers:
        app.include_router(one)
    app.add_exception_handler(FedPatchCoreError, _ours)
    app.add_exception_handler(RequestValidationError, _no_such_value)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    told = {"tls": parts.tls, "answered": parts.answered}
    app.add_middleware(Door, names=tuple(names), **told)
    return app


def _program(request: Request) -> bool:
    return request.url.path.startswith(PROGRAMS) or "authorization" in request.headers


def _told(request: Request, status: int, words: str) -> Response:
    """One line, as JSON for programs and as a page for people."""
    if _program(request):
        return JSONResponse({"error": words}, status)
    return parts_of(request).look.page(request, "error.html.j2", status, words=words)


async def _ours(request: Request, error: FedPatchCoreError) -> Response:
    page = not _program(request) and "x-live" not in request.headers
    if isinstance(error, LogInFirst) and page:
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
