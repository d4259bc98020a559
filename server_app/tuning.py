"""A run that chooses settings instead of making a bank."""

from __future__ import annotations

from logging import INFO

from flwr.common.logger import log

from fedpatchcore.server.tuning import TuneRounds
from server_app.exchanges import Exchanges
from server_app.grid import StreamingGrid
from server_app.strategy import FedPatchCore

__all__ = ["tune"]


def tune(run: FedPatchCore, grid: StreamingGrid) -> dict[str, str]:
    """Ask all sites, step by step; where the settings and their page lie."""
    grid.tell = run.nodes.went_or_came
    asked = run.nodes.roll_call(run.nodes.wait(grid), grid)
    sites = tuple(run.nodes.name(node) for node in asked)
    rounds = TuneRounds(run.config, sites, lambda line: log(INFO, "%s", line), run.run.event)
    timeout = run.config.round_timeout
    Exchanges(run.nodes, run.outbox, run.trace, timeout=timeout).run(rounds, asked, grid)
    return rounds.write(run.run.path)
