"""Runs: the list, one of them, its log, its report; several side by side."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Query, Request
from sqlalchemy import func, select
from starlette.responses import RedirectResponse, Response

from fedpatchcore.control.asked import actor_of, form_of, numbers, room_of, within
from fedpatchcore.control.comparing import compared
from fedpatchcore.control.looked import opened, read_bounded
from fedpatchcore.control.render import page
from fedpatchcore.control.room import Room
from fedpatchcore.control.tables import BankVersion, Run, RunDetail
from fedpatchcore.errors import RunError
from fedpatchcore.runs.events import from_line
from fedpatchcore.runs.telling import tell
from fedpatchcore.web.door import POLICY
from fedpatchcore.web.refusals import Refused

__all__ = ["router"]

router = APIRouter()
A_PAGE = 50
TAIL = 4 * 2**20  # bytes of the log that are looked through
LINES = 500
REPORT = 256 * 2**20
SANDBOX = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'"
)


@router.get("/runs")
def runs(request: Request, page_number: int = Query(1, alias="page", ge=1, le=10**6)) -> Response:
    """All runs, newest first, a page at a time."""
    with room_of(request).database.read() as session:
        count = session.scalar(select(func.count()).select_from(Run)) or 0
        some = select(Run).order_by(Run.begun_at.desc(), Run.id.desc())
        found = list(session.scalars(some.offset(A_PAGE * (page_number - 1)).limit(A_PAGE)))
    pages = max(1, -(-count // A_PAGE))
    return page(request, "runs.html.j2", runs=found, count=count, number=page_number, pages=pages)


@router.get("/runs/{run_id}")
def run(request: Request, run_id: int) -> Response:
    """One run: where it stands, its sites, figures, settings."""
    room = room_of(request)
    found, detail = _run(room, run_id)
    with room.database.read() as session:
        bank = session.scalar(select(BankVersion.id).where(BankVersion.run_id == run_id))
    report = (room.root / found.folder / "report.html").is_file()
    differs = compared([(found, detail)]).settings
    return page(
        request, "run.html.j2", run=found, detail=detail, bank=bank, report=report, differs=differs
    )


@router.get("/runs/{run_id}/log")
def log(request: Request, run_id: int, words: str = Query("", max_length=100)) -> Response:
    """Its last events as lines for people, those with these words alone."""
    room = room_of(request)
    found, _ = _run(room, run_id)
    lines: list[tuple[str, str]] = []
    try:
        with opened(room.root, found.folder, "events.jsonl") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - TAIL))
            data = file.read(TAIL)
    except RunError as error:
        return page(request, "log.html.j2", run=found, lines=[], words=words, wrong=str(error))
    for line in reversed(data.splitlines()):
        event = from_line(line.decode(errors="replace"))
        if event is None:
            continue
        told = tell(event)
        if words.casefold() in told.casefold():
            lines.append((_clock(event.get("time")), told))
        if len(lines) == LINES:
            break
    return page(request, "log.html.j2", run=found, lines=lines, words=words, wrong="")


@router.get("/runs/{run_id}/report")
def report(request: Request, run_id: int) -> Response:
    """The run's report, as a page that may run nothing."""
    room = room_of(request)
    found, _ = _run(room, run_id)
    try:
        data = read_bounded(room.root, found.folder, "report.html", REPORT)
    except RunError as error:
        raise Refused(404, str(error)) from None
    return Response(data, media_type="text/html", headers={"content-security-policy": SANDBOX})


@router.get("/compare")
def compare(request: Request, run: list[str] = Query([])) -> Response:  # noqa: B008
    """Runs side by side: figures, and the settings in which they differ."""
    room = room_of(request)
    chosen = [_run(room, one) for one in dict.fromkeys(numbers(run, 6))]
    if len(chosen) < 2:
        raise Refused(400, "choose two or more runs to compare")
    found = [r for r, _ in chosen]
    reports = [r for r in found if (room.root / r.folder / "report.html").is_file()]
    return page(
        request, "compare.html.j2", told=compared(chosen), runs=found, reports=len(reports) > 1
    )


@router.get("/compare/reports")
def reports(request: Request, run: list[str] = Query([])) -> Response:  # noqa: B008
    """Reports of runs side by side, each as it is."""
    chosen = [_run(room_of(request), one)[0] for one in dict.fromkeys(numbers(run, 4))]
    if len(chosen) < 2:
        raise Refused(400, "choose two to four runs to compare")
    answer = page(request, "reports.html.j2", runs=chosen)
    answer.headers["content-security-policy"] = f"{POLICY}; frame-src 'self'"
    return answer


@router.post("/runs/{run_id}/stop")
def stop(request: Request, run_id: int) -> Response:
    """Ask Flower to end a run."""
    room_of(request).starter.stop(actor_of(request), within(run_id))
    room_of(request).mirror.changed()
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/runs/{run_id}/resume")
def resume(request: Request, run_id: int) -> Response:
    """Go on from the last complete round."""
    form_of(request)
    room_of(request).starter.resume(actor_of(request), within(run_id))
    room_of(request).mirror.changed()
    return RedirectResponse(f"/runs/{run_id}", 303)


def _run(room: Room, run_id: int) -> tuple[Run, RunDetail]:
    with room.database.read() as session:
        found = session.get(Run, within(run_id))
        detail = session.get(RunDetail, run_id) if found else None
    if found is None:
        raise Refused(404, f"there is no run {run_id}")
    empty = RunDetail(run_id=run_id, settings={}, table=[], results=[], notes=[])
    return found, detail or empty


def _clock(told: object) -> str:
    try:
        moment = datetime.fromisoformat(str(told))
        return f"{moment.astimezone(UTC):%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return ""
