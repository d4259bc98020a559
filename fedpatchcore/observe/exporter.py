"""Serves the metrics that short-lived processes left in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from fedpatchcore.errors import ConfigError
from fedpatchcore.observe.metrics import PREFIX, locked

__all__ = ["FolderCollector", "serve"]


class FolderCollector(MultiProcessCollector):
    """The library's collector, between two recordings and never during one."""

    def __init__(self, registry: CollectorRegistry, folder: Path) -> None:
        self.folder = folder
        super().__init__(registry, str(folder))

    def collect(self) -> Iterable[Metric]:
        """This project's metrics; nothing was recorded yet where there is no lock."""
        if not (self.folder / "lock").exists():
            return []
        with locked(self.folder, fcntl.LOCK_SH):
            found = list(super().collect())
        return [metric for metric in found if metric.name.startswith(PREFIX)]


def serve(
    folder: Path, host: str, port: int, *, certificate: Path | None = None, key: Path | None = None
) -> tuple[WSGIServer, Thread]:
    """Answer ``/metrics`` in a thread until the server is shut down; port 0 takes a free one.

    Raises:
        ConfigError: the folder cannot be read, the port is taken, or the certificate is no good.
    """
    registry = CollectorRegistry()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        FolderCollector(registry, folder)
        files = (str(certificate), str(key)) if certificate and key else (None, None)
        return start_http_server(port, host, registry, *files)
    except OSError as error:
        raise ConfigError(f"cannot serve {folder} on {host}:{port}: {error}") from None
