"""HTML from values: whatever is not marked as `Html` is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["Html", "amount", "element", "folded", "join", "percent", "seconds", "size", "table"]


class Html(str):
    """Text that is HTML already and is not escaped again."""


def safe(value: object) -> Html:
    """A value as HTML; text from outside is escaped."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(parts: Iterable[object]) -> Html:
    """Parts one after another."""
    return Html("".join(safe(part) for part in parts))


def element(tag: str, *content: object, **attributes: str) -> Html:
    """``<tag …>content</tag>``; an underscore ends attribute names that Python reserves."""
    said = "".join(f' {k.rstrip("_")}="{escape(v)}"' for k, v in attributes.items() if v)
    return Html(f"<{tag}{said}>{join(content)}</{tag}>")


def table(
    head: Sequence[object], rows: Iterable[tuple[str, Sequence[object]]], *, left: int = 1
) -> Html:
    """A table; ``rows`` are (CSS class, cells), the first ``left`` columns are text."""

    def line(tag: str, cells: Sequence[object]) -> Html:
        return join(
            element(tag, cell, class_="" if at < left else "n") for at, cell in enumerate(cells)
        )

    body = join(element("tr", line("td", cells), class_=name) for name, cells in rows)
    inner = element("thead", element("tr", line("th", head))) + element("tbody", body)
    return element("div", element("table", Html(inner)), class_="scroll")


def folded(summary: object, content: object, *, is_open: bool = False) -> Html:
    """Content behind a line that opens it."""
    state = " open" if is_open else ""
    return Html(f"<details{state}>{element('summary', summary)}{safe(content)}</details>")


def amount(count: int, one: str, many: str = "") -> str:
    """``1 site``, ``2 sites``, ``1,000 rows``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 0) -> str:
    """A share in [0, 1] in per cent; "–" where undefined."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def size(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"


def seconds(value: float | None) -> str:
    """Seconds as people say them."""
    if value is None or not math.isfinite(value):
        return "–"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
