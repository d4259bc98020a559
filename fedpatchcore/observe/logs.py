"""Logs as one JSON object a line, when ``FEDPATCHCORE_LOG=json``.

Every line has ``time``, ``level``, ``logger`` and ``message``, and ``site``, ``run``, ``round``
and ``phase`` where they are known. An event of a run (a mapping as the message) has its own
facts as keys of the same object, so `fedpatchcore.runs.events.from_line` reads it in both modes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from fedpatchcore.timing.phases import Facts

__all__ = ["JsonLines", "bound", "follow", "in_phase", "note", "use_json"]

FIELDS = ("site", "run", "round", "phase")
OTHERS = ("fedpatchcore", "opentelemetry", "py.warnings")

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
