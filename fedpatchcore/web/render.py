"""Templates → pages. Values are escaped; colours, tiles and tables are the report's own style."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from fedpatchcore.report.words import amount, percent, seconds
from fedpatchcore.version import VERSION
from fedpatchcore.web.moments import now
from fedpatchcore.web.refusals import Refused

__all__ = ["Look", "ago", "figure", "moment"]

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SHARED = ("web.css", "live.js", "htmx.min.js", "icon.svg")


class Look:
    """The templates and files of one place, over those that all places have.

    Args:
        package: with the folders ``templates`` and ``assets``.
        own: names of the files in its ``assets``.
        more: further names that its templates know; functions of one value are filters as well.
        speech: the words of a request: its language, and what turns a text of the templates into
            that language; None: the templates' own.
        spoken: names as ``more`` has them, for a language; they go before all others.
    """

    def __init__(
        self,
        package: str,
        own: tuple[str, ...] = (),
        more: Mapping[str, object] | None = None,
        speech: Callable[[Request], tuple[str, Callable[[str], str]]] | None = None,
        spoken: Callable[[str], Mapping[str, object]] = lambda language: {},
    ) -> None:
        self.package, self.own, self.more = package, own, dict(more or {})
        self.speech = speech or (lambda request: ("en", str))
        self.spoken = spoken
        self._environments: dict[str, Environment] = {}
        self._read: dict[str, tuple[bytes, str]] = {}

    def environment(self, language: str = "en") -> Environment:
        """Where templates are found: every value is escaped, a missing value is an error."""
        if language not in self._environments:
            self._environments[language] = self._made(self.spoken(language))
        return self._environments[language]

    def _made(self, spoken: Mapping[str, object]) -> Environment:
        found = Environment(
            loader=ChoiceLoader(
                [
                    PackageLoader(self.package, "templates"),
                    PackageLoader("fedpatchcore.web", "templates"),
                    PackageLoader("fedpatchcore.report", "templates"),  # how charts are drawn
                ]
            ),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        ours = {
            "amount": amount,
            "percent": percent,
            "seconds": seconds,
            "ago": ago,
            "moment": moment,
            "figure": figure,
        }
        more = self.more | spoken
        ours |= {name: one for name, one in more.items() if callable(one)}
        found.filters.update(ours)
        found.globals.update(version=VERSION, **more)
        return found

    def page(
        self, request: Request, template: str, status: int = 200, **values: object
    ) -> HTMLResponse:
        """A template as the answer to a request."""
        caller = getattr(request.state, "caller", None)
        language, words = self.speech(request)
        text = (
            self.environment(language)
            .get_template(template)
            .render(
                me=caller, path=request.url.path, status=status, lang=language, _=words, **values
            )
        )
        return HTMLResponse(text.encode(errors="replace"), status)

    def asset(self, name: str) -> tuple[bytes, str]:
        """A file that pages load, and its kind. Raises Refused (404)."""
        if name not in self._read:
            if name == "report.css":
                place = files("fedpatchcore.report") / "templates/assets"
            elif name in self.own:
                place = files(self.package) / "assets"
            elif name in SHARED:
                place = files("fedpatchcore.web") / "assets"
            else:
                raise Refused(404, "there is no such file")
            kind = KINDS[name[name.rindex(".") :]]
            self._read[name] = ((place / name).read_bytes(), kind)
        return self._read[name]


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
