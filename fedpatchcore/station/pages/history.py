"""What was judged: by shift, product and verdict; the same as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta

from fastapi import APIRouter, Request
from sqlalchemy import func, select
from starlette.responses import Response

from fedpatchcore.station.asked import station_of
from fedpatchcore.station.proposals import FEWEST, MOST_ADDED
from fedpatchcore.station.render import LOOK
from fedpatchcore.station.tables import Inspection
from fedpatchcore.station.told import COLUMNS, as_row
from fedpatchcore.texts import NAME
from fedpatchcore.web.refusals import Refused

__all__ = ["router", "shift_of"]

router = APIRouter()
PAGE = 60
VERDICTS = ("ok", "defect", "undecided", "failed")
MOST = 100_000  # rows of a table


def shift_of(day: str, number: int, begins: list[int]) -> tuple[int, int]:
    """The moments, in milliseconds since 1970, between which a shift of the station's day lies.

    Args:
        number: of the shift, from 0; -1: the whole day, from its first shift on.

    Raises:
        Refused: no such day or shift.
    """
    try:
        start = datetime.strptime(day, "%Y-%m-%d")
    except ValueError:
        raise Refused(400, "day: write 2026-01-31") from None
    if not 1970 < start.year < 9000 or not -1 <= number < len(begins):
        raise Refused(400, "there is no such shift")
    marks = [start + timedelta(minutes=one) for one in begins]
    marks.append(start + timedelta(days=1, minutes=begins[0]))
    first, last = (0, len(begins)) if number < 0 else (number, number + 1)
    return tuple(round(one.timestamp() * 1000) for one in (marks[first], marks[last]))


def _chosen(request: Request, day: str, shift: int, product: str, verdict: str):
    if len(product) > NAME or (verdict and verdict not in VERDICTS):
        raise Refused(400, f"verdict: one of {', '.join(VERDICTS)}")
    found = [Inspection.state != "waiting"]
    if day:
        begins = station_of(request).settings.shift_minutes()
        begin, end = shift_of(day, shift, begins)
        found += [Inspection.arrived_at >= begin, Inspection.arrived_at < end]
    if product:
        found.append(Inspection.product == product)
    if verdict == "failed":
        found.append(Inspection.state == "failed")
    elif verdict:
        found.append(Inspection.verdict == verdict)
    return found


@router.get("/history")
def history(
    request: Request,
    day: str = "",
    shift: int = -1,
    product: str = "",
    verdict: str = "",
    page: int = 0,
) -> Response:
    """A page of what was judged, the last first."""
    station = station_of(request)
    chosen = _chosen(request, day, shift, product, verdict)
    if not 0 <= page < 100_000:
        raise Refused(400, "there is no such page")
    with station.place.database.read() as session:
        query = select(Inspection).where(*chosen).order_by(Inspection.id.desc())
        found = list(session.scalars(query.offset(page * PAGE).limit(PAGE + 1)))
        counts = session.execute(
            select(Inspection.verdict, Inspection.said, func.count())
            .where(*chosen)
            .group_by(Inspection.verdict, Inspection.said)
        ).all()
        products = list(session.scalars(select(Inspection.product).distinct().limit(200)))
    told = {"all": 0, "ok": 0, "defect": 0, "false": 0}
    for one, said, count in counts:
        told["all"] += count
        if one in told:
            told[one] += count
        told["false"] += count if (one, said) == ("defect", "good") else 0
    begins = [f"{one // 60:02d}:{one % 60:02d}" for one in station.settings.shift_minutes()]
    return LOOK.page(
        request,
        "history.html.j2",
        rows=found[:PAGE],
        more=len(found) > PAGE,
        counts=told,
        products=sorted(products),
        verdicts=VERDICTS,
        begins=begins,
        chosen={"day": day, "shift": shift, "product": product, "verdict": verdict},
        page=page,
        real=station.words.real(),
        limits=station.thresholds.limits(),
        fewest=FEWEST,
        most_added=MOST_ADDED,
    )


@router.get("/history.csv")
def as_csv(
    request: Request, day: str = "", shift: int = -1, product: str = "", verdict: str = ""
) -> Response:
    """The same rows for a spreadsheet, the last 100,000 at most."""
    station = station_of(request)
    chosen = _chosen(request, day, shift, product, verdict)
    out = io.StringIO()
    sheet = csv.DictWriter(out, COLUMNS)
    sheet.writeheader()
    with station.place.database.read() as session:
        query = select(Inspection).where(*chosen).order_by(Inspection.id.desc()).limit(MOST)
        for one in session.scalars(query).yield_per(1000):
            sheet.writerow(as_row(one, station.settings.station))
    name = f"verdicts-{day or 'all'}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(out.getvalue().encode(errors="replace"), media_type="text/csv", headers=headers)
