"""Sub-commands for watching: the exporter of metrics."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from fedpatchcore.cli.common import console
from fedpatchcore.errors import ConfigError

__all__ = ["exporter"]


def exporter(
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one.")] = 9464,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="The folder that the apps' PROMETHEUS_MULTIPROC_DIR names."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certfile", help="Serve HTTPS with this certificate (PEM).")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--keyfile", help="The certificate's private key (PEM).")
    ] = None,
) -> None:
    """Serve the metrics of this machine's server or site to Prometheus, until stopped."""
    from fedpatchcore.observe.exporter import serve
    from fedpatchcore.observe.metrics import SWITCH, metrics_folder

    if (folder := folder or metrics_folder()) is None:
        raise ConfigError(f"no folder of metrics: give --dir, or set {SWITCH} as for the apps")
    if (certificate is None) != (key is None):
        raise ConfigError("--certfile and --keyfile belong together")
    stopped = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stopped.set())
    server, thread = serve(folder, host, port, certificate=certificate, key=key)
    scheme = "https" if certificate else "http"
    console.print(f"metrics of {folder} on {scheme}://{host}:{server.server_port}/metrics")
    stopped.wait()
    server.shutdown()
    server.server_close()
    thread.join()
