"""Templates → pages. Values are escaped; colours, tiles and tables are the report's own style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from fedpatchcore.control.following import now
from fedpatchcore.control.refusals import Refused
from fedpatchcore.control.roles import allows
from fedpatchcore.report.words import amount, percent, seconds
from fedpatchcore.version import VERSION

__all__ = ["asset", "page"]

OWN = {
    "control.css": "text/css; charset=utf-8",
    "control.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@cache
def environment() -> Environment:
    """Where templates are found: every value is escaped, a value that is missing is an error."""
    found = Environment(
        loader=PackageLoader("fedpatchcore.control", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        amount=amount,
        percent=percent,
        seconds=seconds,
        ago=ago,
        moment=moment,
        figure=figure,
        rate=rate,
    )
    found.globals.update(version=VERSION, allows=allows)
    return found


def page(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """A template as the answer to a request."""
    caller = getattr(request.state, "caller", None)
    text = (
        environment()
        .get_template(template)
        .render(me=caller, path=request.url.path, status=status, **values)
    )
    return HTMLResponse(text.encode(errors="replace"), status)


@cache
def asset(name: str) -> tuple[bytes, str]:
    """A file that pages load, and its kind. Raises Refused (404)."""
    if name == "report.css":
        folder = files("fedpatchcore.report") / "templates/assets"
        return (folder / name).read_bytes(), OWN["control.css"]
    if name not in OWN:
        raise Refused(404, "there is no such file")
    return (files("fedpatchcore.control") / "assets" / name).read_bytes(), OWN[name]


def moment(at: int | None) -> str:
    """Milliseconds since 1970 as ``2026-01-31 23:59`` (UTC)."""
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M}" if at else "–"


def ago(at: int | None) -> str:
    """How long that is gone, in the largest unit."""
    if not at:
        return "never"
    gone = max(0, now() - at) / 1000
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if gone >= length:
            return amount(int(gone // length), unit) + " ago"
    return "just now"


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many digits; a dash where undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def rate(told: Sequence[int] | Mapping | None) -> str:
    """``[7, 8]`` as ``7 of 8``."""
    return f"{told[0]} of {told[1]}" if isinstance(told, Sequence) and len(told) == 2 else "–"
