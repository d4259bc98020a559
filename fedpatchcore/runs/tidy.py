"""An event as it may be: facts of the right kind, texts as one harmless line, nothing endless.

Whoever follows a run reads a log, and a log may be of another version, cut short or forged. What is
no fact of its kind is left out, so that nobody who reads events has to ask again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fedpatchcore.metrics.comparison import METHODS
from fedpatchcore.texts import NAME, one_line
from fedpatchcore.wire.bounds import LARGEST, MOST, SECTIONS

__all__ = ["tidy"]

ROWS = 100_000  # of the result table
FACTS = 100  # of one event
PATH = 4096  # characters, as systems have it


class _Unfit(Exception):
    """A fact that is none of its kind."""


def _need(fits: bool) -> None:
    if not fits:
        raise _Unfit


def _count(value: Any) -> int:
    _need(type(value) in (int, float) and 0 <= value <= MOST and value == int(value))
    return int(value)


def _number(value: Any) -> float:
    _need(type(value) in (int, float) and abs(value) <= LARGEST)  # NaN is not
    return value


def _text(value: Any) -> str:
    _need(isinstance(value, str))
    return one_line(value)


def _path(value: Any) -> str:
    _need(isinstance(value, str))
    return one_line(value, PATH)


def _name(value: Any) -> str:
    _need(isinstance(value, str))
    return one_line(value, NAME + 40)  # "name (node 123…)"


def _names(value: Any) -> list[str]:
    _need(isinstance(value, list | tuple))
    return [_name(one) for one in value[:SECTIONS]]


def _rate(value: Any) -> list[int]:
    _need(isinstance(value, list | tuple) and len(value) == 2)
    count, of = map(_count, value)
    _need(count <= of)
    return [count, of]


def _shares(value: Any) -> list[float]:
    _need(isinstance(value, list | tuple) and len(value) == 3)
    return [_number(one) for one in value]


def _flag(value: Any) -> bool:
    _need(isinstance(value, bool))
    return value


def _by_name(kind: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    def read(value: Any) -> dict[str, Any]:
        _need(isinstance(value, Mapping))
        return _fitting({_name(k): (kind, v) for k, v in list(value.items())[:SECTIONS] if _is(k)})

    return read


def _is(name: Any) -> bool:
    return isinstance(name, str)


def _judged(value: Any) -> dict[str, Any]:
    """What a bank's thresholds decided, as `fedpatchcore.metrics.compared` tells it."""
    _need(isinstance(value, Mapping))
    kinds = {"found": _rate, "stopped": _rate, "promised": _shares, "sites": _count}
    return _fitting({key: (kind, value[key]) for key, kind in kinds.items() if key in value})


ROW: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("product", "site"), _name),
    "kind": _text,
    **dict.fromkeys(("good", "defective", "sites"), _count),
    **{f"{name}_rows": _count for name in METHODS},
    **{f"{name}{what}": _number for name in METHODS for what in ("", "_pixel", "_equal")},
    **dict.fromkeys(("found", "stopped", "planted"), _rate),
    "promised": _shares,
    "withheld": _flag,
    "compared": _by_name(_judged),
}


def _table(value: Any) -> list[dict[str, Any]]:
    _need(isinstance(value, list | tuple))
    rows = []
    for one in value[:ROWS]:
        if isinstance(one, Mapping):
            row = _fitting({key: (ROW[key], one[key]) for key in ROW if key in one})
            named = all(map(_is, (row.get("product"), row.get("site"))))
            if named and row.get("kind") in ("site", "mean"):
                rows.append(row)
    return rows


FACTS_OF: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("time", "event", "run", "device", "version", "note", "reason"), _text),
    "kind": _text,
    **dict.fromkeys(("bank", "report", "settings"), _path),
    "site": _name,
    **dict.fromkeys(("resumed_after", "online", "wanted", "number", "of", "round"), _count),
    **dict.fromkeys(("turn", "started_from"), _count),
    **dict.fromkeys(("images", "represented", "held_out", "bad", "extracted", "cached"), _count),
    **dict.fromkeys(("patches", "rows", "bytes", "wire_bytes", "down_bytes"), _count),
    **dict.fromkeys(("seconds", "extract_seconds", "select_seconds", "epsilon"), _number),
    **dict.fromkeys(("round_trip_seconds", "image_seconds", "shown"), _number),
    **dict.fromkeys(("features", "held"), _count),
    **dict.fromkeys(("products", "sites", "chosen", "late", "asked", "masked", "opened"), _names),
    **dict.fromkeys(("openers", "colluding", "late_from"), _count),
    **dict.fromkeys(("closed", "about"), _text),
    "left": _by_name(_text),
    **dict.fromkeys(("defects_found", "good_stopped"), _by_name(_rate)),
    **dict.fromkeys(("image_auroc", "local_image_auroc"), _by_name(_number)),
}


def tidy(event: Any) -> dict[str, Any]:
    """The facts of an event that are of their kind, or null; empty for what is no JSON object.

    Facts that no version tells of are kept where they are plain: a text, a number, a flag.
    """
    if not isinstance(event, Mapping):
        return {}
    pairs = list(event.items())[:FACTS]
    return _fitting({k: (_kind(k, event.get("event")), v) for k, v in pairs if _is(k)})


def _kind(name: str, event: Any) -> Callable[[Any], Any]:
    if (event, name) == ("finished", "rows"):
        return _table
    return FACTS_OF.get(name, _plain)


def _plain(value: Any) -> Any:
    for kind in (_text, _number, _flag):
        try:
            return kind(value)
        except _Unfit:
            continue
    raise _Unfit


def _fitting(given: Mapping[str, tuple[Callable[[Any], Any], Any]]) -> dict[str, Any]:
    found = {}
    for name, (kind, value) in given.items():
        try:
            found[one_line(name, NAME + 40)] = None if value is None else kind(value)
        except _Unfit:
            continue
    return found
