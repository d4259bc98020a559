"""One run from settings to report."""

from __future__ import annotations

import time
from contextlib import suppress
from logging import ERROR, INFO
from pathlib import Path

from flwr.app import ArrayRecord, Context
from flwr.common.logger import FLOWER_LOGGER, log
from flwr.serverapp import Grid

from fedpatchcore.config import RunConfig
from fedpatchcore.devices.choice import resolve_device
from fedpatchcore.errors import RunError
from fedpatchcore.files import for_owner_alone
from fedpatchcore.learned.rules import Rule
from fedpatchcore.metrics.comparison import comparison_rows
from fedpatchcore.observe import logs
from fedpatchcore.observe.run import listeners
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.runs.events import Line
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.folders import new_folder
from fedpatchcore.server.late import last_version
from fedpatchcore.server.limit import memory_limited, told
from fedpatchcore.server.results import write_results
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.site.setup import use_threads
from fedpatchcore.spelling import after_c, spelled
from server_app.flowing import Flowing
from server_app.grid import StreamingGrid
from server_app.strategy import EnoughError, FedPatchCore
from server_app.tuning import tune

__all__ = ["run"]


def run(grid: Grid, context: Context) -> None:
    """Run the federation; a failure is one clear line in the log and in ``events.jsonl``."""
    logs.use_json(FLOWER_LOGGER)
    logs.guard(FLOWER_LOGGER)
    with (
        for_owner_alone(),
        memory_limited(),
        logs.bound(run=str(context.run_id)),
        spelled(after_c),
        RunTrace.open(str(context.run_id)) as trace,
    ):
        _run(grid, context, trace)


def _run(grid: Grid, context: Context, trace: RunTrace) -> None:
    run: RunFolder | None = None
    started = time.monotonic()
    try:
        config = RunConfig.parse(context.run_config, where="run-config")
        use_threads(config.threads)
        run = _folder(config, context.run_id)
        run.listeners += [*listeners(), lambda event: log(INFO, Line(event))]
        codebook = None
        if config.sums:
            from fedpatchcore.server.first_codebook import first_codebook

            codebook = first_codebook(config, say=_say)
        federation = Federation(
            config,
            device=str(resolve_device(config.device)),
            say=_say,
            codebook=codebook,
            contributions=run.contributions(),
            rules=_rules,
        )
        done = run.restore(federation) if config.resume else 0
        if config.resume:
            log(INFO, "resumed %s after round %s", run.path, done)
        run.event("started", run=str(context.run_id), resumed_after=done)
        if config.tune:
            streaming = StreamingGrid(grid, rejoin=config.rejoin_seconds)
            made = tune(FedPatchCore(config, federation, run, trace=trace), streaming)
            run.event("finished", seconds=time.monotonic() - started, rows=[], bank="", **made)
            log(INFO, "settings: %s", made["settings"])
            return
        if config.num_rounds > done:
            strategy = FedPatchCore(config, federation, run, done=done, trace=trace)
            streaming = StreamingGrid(grid, rejoin=config.rejoin_seconds)
            try:
                if config.flows:
                    Flowing(strategy, streaming).run()
                else:
                    strategy.start(
                        grid=streaming,
                        initial_arrays=ArrayRecord(),
                        num_rounds=config.num_rounds - done,
                        timeout=config.round_timeout,
                    )
                    last_version(strategy)
            except EnoughError as enough:
                log(INFO, "no further round: %s", enough)
        seconds = time.monotonic() - started
        metrics, report = write_results(run, federation, seconds=seconds, say=_say)
        run.event(
            "finished",
            seconds=time.monotonic() - started,
            rows=comparison_rows(metrics),
            bank=str(run.path.resolve() / "bank.safetensors"),
            report=str(report.resolve()) if report else "",
        )
        if report:
            log(INFO, "report: %s", report.resolve())
    except Exception as error:
        reason = told(error)
        log(ERROR, "run stopped: %s", reason)
        if run is not None:
            with suppress(RunError):  # a full disk may be what stopped it
                run.event("failed", reason=reason)
        raise


def _rules(config: RunConfig, **how: object) -> Rule:
    from server_app.optimisers import rule_of  # Flower's strategies, which PatchCore has no use for

    return rule_of(config, **how)


def _say(line: str) -> None:
    log(INFO, "%s", line)


def _folder(config: RunConfig, run_id: int) -> RunFolder:
    if config.resume:
        return RunFolder.reopen(Path(config.resume).expanduser(), config.table())
    out = Path(config.out_dir).expanduser()
    name = config.run_name or new_folder(out, f"-{run_id % 10**6:06d}").name
    return RunFolder.create(out, name, config.table())
