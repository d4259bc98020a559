"""Commands for a federation across machines: submit a run, follow it, list runs, stop one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import Overrides, console, finite, resumed_folder, settings, told_once
from fedpatchcore.cli.live import Follower, run_view
from fedpatchcore.cli.results import print_results
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, FedPatchCoreError, RunError
from fedpatchcore.runs.events import from_line
from fedpatchcore.runs.flowercli import FlowerCli
from fedpatchcore.runs.watch import RunView
from fedpatchcore.texts import NAME, one_line

__all__ = ["run", "status", "stop"]

COMPLETED = "finished:completed"
GOES_ON = 1
INTERRUPTED = 130

Connection = Annotated[
    str, typer.Option(help="Connection in Flower's config.toml; default: the file's default.")
]
Plain = Annotated[
    bool, typer.Option("--plain", help="One line an event, as in a pipe, instead of a table.")
]
RunId = Annotated[str, typer.Argument(help="Run id, as 'fedpatchcore status' lists it.")]


def run(
    connection: Annotated[
        str, typer.Argument(help="Connection in Flower's config.toml; default: its default.")
    ] = "",
    overrides: Overrides = None,
    resume: Annotated[
        str, typer.Option(help="Go on from this run folder on the server's disk.")
    ] = "",
    detach: Annotated[
        bool, typer.Option("--detach", help="Submit, print the run id, do not follow.")
    ] = False,
    minutes: Annotated[
        float,
        typer.Option(
            callback=finite, help="Stop following after so many minutes; the run goes on."
        ),
    ] = 720.0,
    plain: Plain = False,
) -> None:
    """Submit a run to a SuperLink and watch its sites at work.

    Exit code 0: the run completed; 1: it goes on and is no longer followed; 2: it failed.

    Example: fedpatchcore run my-server -c backbone=resnet18 -c expected-sites=5
    """
    config = settings(overrides)
    if going_on := told_once(config, "resume", "--resume", resume or None):
        config["resume"] = going_on
    resumed_folder(config)
    checked = RunConfig.parse(config, where="settings")  # a typo is told before anything is sent
    flower = _flower(connection)
    run_id = flower.submit(config)
    console.print(f"run {run_id}", soft_wrap=True)
    if detach:
        console.print(_later(run_id, connection), soft_wrap=True)
        return
    expected = checked.expected_sites or checked.min_sites
    _follow(flower, run_id, Follower(expected=expected, plain=plain), minutes)


def status(
    run_id: Annotated[
        str, typer.Argument(metavar="[RUN_ID]", help="One run; without it, all runs and nodes.")
    ] = "",
    connection: Connection = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep watching; without RUN_ID, the newest run.")
    ] = False,
    minutes: Annotated[
        float,
        typer.Option(
            callback=finite,
            help="Stop watching after so many minutes.",
        ),
    ] = 720.0,
    plain: Plain = False,
) -> None:
    """Runs and SuperNodes of a SuperLink; with RUN_ID, that run's sites."""
    flower = _flower(connection)
    if watch and not run_id:
        runs = flower.runs()
        if not runs:
            raise RunError("the SuperLink knows no run to watch")
        run_id = str(runs[0]["run-id"])
        console.print(f"run {run_id}", soft_wrap=True)
    if not run_id:
        _overview(flower)
    elif watch:
        _number(run_id)
        flower.run(run_id)
        _follow(flower, run_id, Follower(plain=plain), minutes)
    else:
        _number(run_id)
        _one(flower, run_id)


def stop(run_id: RunId, connection: Connection = "") -> None:
    """Stop a run; ClientApps at work finish first."""
    _number(run_id)
    _flower(connection).stop(run_id)
    console.print(f"run {run_id} is stopped", soft_wrap=True)


# -- following --------------------------------------------------------------------------


def _flower(connection: str) -> FlowerCli:
    """Flower's program; $FEDPATCHCORE_FLWR names another than the one beside Python."""
    program = os.environ.get("FEDPATCHCORE_FLWR")
    flower = FlowerCli(superlink=connection, program=Path(program) if program else None)
    flower.connection()  # Flower itself would start a simulation where nothing is configured
    return flower


def _follow(flower: FlowerCli, run_id: str, shown: Follower, minutes: float) -> None:
    """Show the run until it is over; ends the command with the exit code it deserves."""
    connection = flower.superlink
    try:
        with shown:
            ended = flower.follow(
                run_id, shown.line, timeout=minutes * 60, tick=shown.tick, again=shown.again
            )
    except KeyboardInterrupt:
        console.print(f"\nthe run goes on; {_later(run_id, connection)}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    view = shown.view
    if ended == COMPLETED:
        _result(view)
        return
    if not ended.startswith(("finished", "failed")):
        console.print(f"{ended}; {_later(run_id, connection)}", soft_wrap=True)
        raise typer.Exit(GOES_ON)
    _failed(flower, run_id, ended, shown.reason)


def _result(view: RunView) -> None:
    if view.rows:
        print_results(view.rows)
    for what, path in (
        ("bank    ", view.bank),
        ("settings", view.settings),
        ("report  ", view.report),
    ):
        if path:
            console.print(f"{what} {path} (on the server)", soft_wrap=True, markup=False)


def _failed(flower: FlowerCli, run_id: str, ended: str, reason: str) -> NoReturn:
    if not reason:
        try:
            details = str(flower.run(run_id).get("status-details") or "N/A")
        except FedPatchCoreError:
            details = "N/A"
        reason = details if details != "N/A" else "Flower gives no reason; see the SuperLink's log"
    raise RunError(f"run {run_id} ended as '{ended}': {reason}")


def _later(run_id: str, connection: str) -> str:
    where = f" --connection {connection}" if connection else ""
    return (
        f"follow it with: fedpatchcore status {run_id}{where} --watch; "
        f"stop it with: fedpatchcore stop {run_id}{where}"
    )


# -- status -----------------------------------------------------------------------------


def _number(run_id: str) -> None:
    if not run_id.isdigit():
        raise ConfigError(f"'{run_id}' is no run id: 'fedpatchcore status' lists them")


def _one(flower: FlowerCli, run_id: str) -> None:
    told = flower.run(run_id)
    view = RunView()
    reason = ""
    for line in flower.show(run_id):
        if (event := from_line(line)) is not None:
            view.take(event)
        elif "run stopped: " in line:
            reason = one_line(line.partition("run stopped: ")[2])
    state = str(told["status"])
    if state.startswith("finished") and not view.over:  # the ServerApp could not tell it
        view.end(reason or state)
    console.print(run_view(view, title=state))
    if view.rows:
        _result(view)


def _overview(flower: FlowerCli) -> None:
    runs = Table(title="runs", title_justify="left")
    for column in ("id", "status", "started", "duration", "MB"):
        runs.add_column(column, justify="right" if column in ("duration", "MB") else "left")
    for row in flower.runs():
        size = (row.get("network-traffic") or {}).get("total-bytes")
        runs.add_row(
            _cell(row.get("run-id")),
            _cell(row.get("status")),
            _moment(row, "running-at", "pending-at"),
            f"{float(row.get('elapsed') or 0):.0f} s",
            "–" if size is None else f"{size / 1e6:.1f}",
        )
    console.print(runs if runs.row_count else "no runs yet")
    nodes = Table(title="SuperNodes", title_justify="left")
    for column in ("id", "owner", "status", "last seen"):
        nodes.add_column(column)
    try:
        told = flower.nodes()
    except RunError as error:  # a SuperLink that simulates has none
        console.print(f"SuperNodes: {error}", markup=False, soft_wrap=True)
        return
    for row in told:
        online = row.get("status") == "online"
        seen = f"now, since {_moment(row, 'online-at')}" if online else _moment(row, "offline-at")
        nodes.add_row(
            *(_cell(row.get(key)) for key in ("node-id", "owner-name", "status")), escape(seen)
        )
    console.print(
        nodes if nodes.row_count else "no SuperNodes yet: start flower-supernode at each site"
    )


def _cell(told: object) -> str:
    """What the SuperLink says, as a cell: names are the sites' own."""
    return escape(one_line(told, NAME))


def _moment(row: Mapping[str, Any], *keys: str) -> str:
    """The first time that is known, in Flower's own words (UTC)."""
    return next((one_line(row[k], NAME) for k in keys if row.get(k) not in (None, "", "N/A")), "–")
