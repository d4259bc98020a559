"""What goes on by itself: health, files of the pages, the stream that says: something changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from fedpatchcore.web.guard import caller_behind
from fedpatchcore.web.parts import parts_of
from fedpatchcore.web.refusals import Refused

__all__ = ["changes", "router"]

router = APIRouter()
TICK, ALIVE = 0.3, 15.0  # seconds
MOST = 200  # streams at a time
open_streams = 0


@router.get("/health")
def health(request: Request) -> Response:
    """For whoever watches the process."""
    with parts_of(request).database.read() as session:
        session.connection().exec_driver_sql("SELECT 1")
    return PlainTextResponse("ok\n")


@router.get("/assets/{name}")
def assets(request: Request, name: str) -> Response:
    """A style sheet or a script of these pages."""
    data, kind = parts_of(request).look.asset(name)
    return Response(data, media_type=kind, headers={"cache-control": "max-age=300"})


@router.get("/live")
async def live(request: Request) -> Response:
    """Server-sent events: ``changed`` whenever pages should load their live parts again."""
    parts = parts_of(request)
    if open_streams >= MOST:
        raise Refused(503, f"{MOST} pages follow live already")

    async def welcome() -> bool:
        if await request.is_disconnected():
            return False
        return bool(await run_in_threadpool(caller_behind, request, used=False))

    told = changes(parts.version, welcome)
    return StreamingResponse(told, media_type="text/event-stream")


async def changes(
    version: Callable[[], int], welcome: Callable[[], object], tick: float = TICK
) -> AsyncIterator[str]:
    """An event for each change of ``version``, a sign of life between; ends with the welcome."""
    global open_streams
    open_streams += 1
    try:
        last, waited = version(), 0.0
        yield f"retry: 3000\nevent: hello\ndata: {last}\n\n"
        while True:
            await asyncio.sleep(tick)
            waited += tick
            if (at := version()) != last:
                last = at
                yield f"event: changed\ndata: {last}\n\n"
            elif waited >= ALIVE:
                waited = 0.0
                if not await welcome():
                    return
                yield ": alive\n\n"
    finally:
        open_streams -= 1
