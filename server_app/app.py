"""The ServerApp, as Flower finds it: sees that the library installed here fits, then runs."""

from __future__ import annotations

from logging import ERROR
from pathlib import Path

from flwr.app import Context
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp

__all__ = ["app"]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation; a failure is one clear line in the log and in ``events.jsonl``."""
    try:
        from fedpatchcore.version import misfit

        reason = misfit(Path(__file__).parents[1])
        if not reason:
            from server_app.run import run
    except ImportError as error:
        reason = (
            "the server's FedPatchCore is missing, damaged or older than this run's app "
            f"({error}): pip install --upgrade fedpatchcore"
        )
    if reason:
        log(ERROR, "run stopped: %s", reason)
        raise RuntimeError(reason)
    run(grid, context)
