"""Logs as one JSON object a line, when ``FEDPATCHCORE_LOG=json``.

Every line has ``time``, ``level``, ``logger`` and ``message``, and ``site``, ``run``, ``round``
and ``phase`` where they are known. An event of a run (a mapping as the message) has its own
facts as keys of the same object, so `fedpatchcore.runs.events.from_line` reads it in both modes.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from fedpatchcore.texts import one_line
from fedpatchcore.timing.phases import Facts

__all__ = ["Harmless", "JsonLines", "bound", "follow", "guard", "in_phase", "note", "use_json"]

FIELDS = ("site", "run", "round", "phase")
OTHERS = ("fedpatchcore", "opentelemetry", "py.warnings")
FORGED = re.compile(r'\s*(event\s|\{).*"event"')  # see `fedpatchcore.runs.events.from_line`
LONGEST = 20_000  # characters of a line

_bound: ContextVar[Mapping[str, Any]] = ContextVar("fedpatchcore_log_fields", default={})  # noqa: B039


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Lines logged inside the block, in this thread, carry these fields."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def note(**fields: Any) -> None:
    """Change fields until the surrounding `bound` ends; None takes a field away."""
    _bound.set({**_bound.get(), **fields})


def in_phase(name: str, facts: Facts) -> Any:
    """A `fedpatchcore.timing.phases.Watcher`: lines inside a phase carry its name."""
    return bound(phase=name)


def follow(event: Mapping[str, Any]) -> None:
    """A run's listener: the server's lines carry the round and what it waits for."""
    what = event["event"]
    if what == "round":
        note(round=event["number"], phase="train")
    elif what == "merged":
        note(phase="evaluate")
    elif what == "checkpoint":
        note(round=None, phase=None)


class BoundFields(logging.Filter):
    """Gives each record the fields bound where it was logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.bound = {k: v for k, v in _bound.get().items() if k in FIELDS and v is not None}
        return True


class Harmless(logging.Filter):
    """Makes every record but an event's such that it forges nothing, whoever wrote its words.

    A message keeps its own lines, each without control characters; one that begins like an event
    is told in quotes. The lines of a trace are indented.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, Mapping):
            return True
        told = record.getMessage()
        if not _harmless(told):
            lines = [_indented(line) for line in told.split("\n")]
            record.msg, record.args = "\n".join(lines), None
        if record.exc_info and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_text = "\n".join("  | " + _plain(line) for line in text.split("\n"))
        return True


def _harmless(text: str) -> bool:
    return text.isprintable() and len(text) <= LONGEST and not FORGED.match(text)


def _indented(line: str) -> str:
    """A line without control characters, that is no event even at the beginning of one."""
    indent = line[: len(line) - len(line.lstrip())]
    plain = indent.expandtabs() + _plain(line.strip())
    return f"“{plain}”" if FORGED.match(plain) else plain


def _plain(line: str) -> str:
    """As `one_line`, white space within left as it is."""
    return " ".join(one_line(word, LONGEST) for word in line.expandtabs().split(" "))[:LONGEST]


def guard(logger: logging.Logger) -> None:
    """Let nothing through ``logger`` that looks like an event and is none; once is enough."""
    for one in (logger, *map(logging.getLogger, OTHERS)):
        for place in (one, *one.handlers):
            if not any(isinstance(known, Harmless) for known in place.filters):
                place.addFilter(Harmless())


class JsonLines(JsonFormatter):
    """The JSON line. A fact of an event wins over a bound field of the same name."""

    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            reserved_attrs=[*RESERVED_ATTRS, "bound"],
            json_ensure_ascii=False,
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds")

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        if isinstance(record.msg, Mapping):
            log_data["message"] = str(message_dict.get("event", ""))
        log_data["message"] = log_data["message"].strip()
        for key, value in getattr(record, "bound", {}).items():
            log_data.setdefault(key, value)


def use_json(logger: logging.Logger, environ: Mapping[str, str] = os.environ) -> None:
    """Switch the handlers of ``logger``, and this package's own, to JSON lines if asked for.

    Handlers stay where they are, with their streams and levels; one whose class formats by
    itself is told on the instance. Calling it again changes nothing.
    """
    if environ.get("FEDPATCHCORE_LOG", "").lower() != "json":
        return
    logging.captureWarnings(True)
    for one in (logger, *map(logging.getLogger, OTHERS)):
        if one is not logger and not one.handlers:
            one.addHandler(logging.StreamHandler())
            one.propagate = False
        for handler in one.handlers:
            if not isinstance(handler.formatter, JsonLines):
                handler.addFilter(BoundFields())
                handler.setFormatter(JsonLines())
                handler.format = handler.formatter.format
