"""Prometheus metrics that outlive the processes which count.

Every message to a site is a process of its own, and so is every run at the server, so nothing
lives long enough to be scraped. prometheus_client's multi-process mode keeps values in mapped
files; here the files are named by role and site (``server``, ``site-plant-a``) instead of by
process, so that a new process goes on where the last one stopped, and
`fedpatchcore.observe.exporter` serves them.

The library asks that no two running processes share such a name. Two may (two runs at a time),
so a file is only open while one event or message is being recorded, under a lock of the whole
folder; what is read at opening is therefore never stale. A scrape takes the same lock, shared.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:  # the library is only loaded where metrics are switched on
    from prometheus_client import CollectorRegistry

__all__ = [
    "PREFIX",
    "SWITCH",
    "Metric",
    "Metrics",
    "Recorder",
    "declare",
    "locked",
    "metrics_folder",
    "site_label",
]

log = logging.getLogger("fedpatchcore")

SWITCH = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "fedpatchcore_"
LOCK_SECONDS = 1.0
SECONDS = (0.1, 0.5, 2, 10, 30, 60, 300, 900, 3600)
# "live": a scrape may find the file gone; "mostrecent": one value, without a process label.
MODE = "livemostrecent"

Metrics = Mapping[str, Any]


class Metric(NamedTuple):
    """A metric's declaration; ``name`` lacks the common prefix."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    meaning: str
    labels: tuple[str, ...] = ()


def declare(metrics: Sequence[Metric], registry: CollectorRegistry) -> Metrics:
    """Metrics by their name without prefix, in a registry."""
    from prometheus_client import Counter, Gauge, Histogram

    make = {
        "counter": Counter,
        "gauge": partial(Gauge, multiprocess_mode=MODE),
        "histogram": partial(Histogram, buckets=SECONDS),
    }
    return {
        m.name: make[m.kind](PREFIX + m.name, m.meaning, m.labels, registry=registry)
        for m in metrics
    }


def metrics_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where metrics are kept; None switches them off."""
    named = environ.get(SWITCH, "")
    return Path(named) if named else None


def site_label(site: str) -> str:
    """A site's name as a label: no node ids, which would make a new series at every restart."""
    named = re.sub(r" \(node -?\d+\)$", "", site)
    return "unknown" if re.fullmatch(r"node -?\d+", named) else named


@contextmanager
def locked(folder: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold the folder's lock. Raises TimeoutError after `LOCK_SECONDS`."""
    path = folder / "lock"
    with path.open("r" if how == fcntl.LOCK_SH else "a") as file:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(f"{path} is held by another process") from None
                time.sleep(0.01)
        yield


class Recorder:
    """One role's metrics in a folder, opened for as long as it takes to note something.

    Args:
        role: "server", or "site-" and the site's name; becomes part of file names.
    """

    _one_at_a_time = threading.Lock()  # the library's choice of value class is one a process

    def __init__(self, folder: Path, role: str, metrics: Sequence[Metric]) -> None:
        self.folder = folder
        self.role = self._file_name(role)
        self.metrics = metrics
        self._values: Any = None
        self._said = False

    @staticmethod
    def _file_name(role: str) -> str:
        """The library splits file names at underscores: keep those, and separators, out."""
        safe = re.sub(r"[^A-Za-z0-9.-]", "-", role)
        return safe if safe == role else f"{safe}-{hashlib.sha256(role.encode()).hexdigest()[:8]}"

    def record(self, write: Callable[[Metrics], None], *, fresh_gauges: bool = False) -> None:
        """Let ``write`` set and count; whatever goes wrong is said once and costs only metrics.

        Args:
            fresh_gauges: forget this role's gauges first, so that none is left of what is gone.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._one_at_a_time, locked(self.folder):
                if fresh_gauges:
                    (self.folder / f"gauge_{MODE}_{self.role}.db").unlink(missing_ok=True)
                self._write(write)
        except Exception as error:  # a mapped file can be damaged in many ways
            if not self._said:
                log.warning("metrics not written to %s: %s", self.folder, error)
            self._said = True

    def _write(self, write: Callable[[Metrics], None]) -> None:
        from prometheus_client import CollectorRegistry, values

        self._values = self._values or values.MultiProcessValue(lambda: self.role)
        usual, values.ValueClass = values.ValueClass, self._values
        try:
            write(declare(self.metrics, CollectorRegistry()))
        finally:
            values.ValueClass = usual
            self._values.close_all_files()
