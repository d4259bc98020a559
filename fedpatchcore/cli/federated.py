"""Commands that run a whole federation on this machine, with real Flower processes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedpatchcore.cli.common import Overrides, console, finite, resumed_folder, settings, told_once
from fedpatchcore.cli.images import show_partition
from fedpatchcore.cli.live import Follower, level_and_words
from fedpatchcore.cli.reports import print_table
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, RunError
from fedpatchcore.files import for_owner_alone, private_folder
from fedpatchcore.runs.launch import LocalFlower
from fedpatchcore.server.folders import new_folder, unused

if TYPE_CHECKING:
    from fedpatchcore.data.products import Product

__all__ = ["DEMO", "demo", "rehearse", "simulate"]

Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the run's own folder is made in, as -c out-dir=… says it too.",
        show_default="runs",
    ),
]
Logs = Annotated[
    Path | None, typer.Option(help="Keep every process's log in this folder.", show_default=False)
]
Minutes = Annotated[float, typer.Option(callback=finite, help="Give up after so many minutes.")]

DEMO = {
    "backbone": "filterbank",
    "geometry": "full",
    "coreset-size": 600,
    "global-bank-size": 1500,
    "heatmaps": 2,
    "threads": 1,
}
DIVIDING = ("partition", "dirichlet-alpha", "manifest")
NOISE = (
    "Using SuperLink",
    "Starting logstream",
    "Starting Flower Simulation",
    "Since flwr",
    "Federation `",
    "To change federation",
    "flwr federation",
    "Successfully installed",
    "Final results",
    "Aggregated MetricRecord",
    "Using InMemory",
    "ClientApp-side",
    "ServerApp-side",
    "Train Metrics",
    "Evaluate Metrics",
    "ArrayRecord",
    "ConfigRecord",
    "Global Arrays",
    "Manually terminating",
    "Start `flwr-serverapp`",
)
FIGURE = re.compile(r"(\d+: )?\{?'[\w-]+': ")  # a line of Flower's table of all rounds


def demo(
    out: Out = None,
    nodes: Annotated[
        bool, typer.Option("--nodes", help="Five SuperNode processes instead of a simulation.")
    ] = False,
    overrides: Overrides = None,
    minutes: Minutes = 15.0,
) -> None:
    """Five facilities build one bank from synthetic images; shows the table and the pictures.

    Needs no download and no data: images are generated, the backbone is the embedded one.
    """
    from fedpatchcore.site.virtual import sample_folder

    told = settings(overrides)
    _refuse(
        told,
        ("data", "exclude", *DIVIDING),
        "the demo brings its own images: simulate divides yours",
    )
    console.print("[bold]Five facilities, three products, one bank.[/] No image leaves a site.\n")
    with console.status("writing the synthetic images of five facilities (first time only)"):
        sample = sample_folder(5)
    config = {**DEMO, "data": str(sample), "compare-pooled": True, **told}
    _run(_nodes(sample) if nodes else _simulation(5), config, out, minutes)


def simulate(
    data: Annotated[
        Path | None,
        typer.Option(help="Image folder to divide over virtual sites; default: the sample."),
    ] = None,
    sites: Annotated[int, typer.Option(help="Virtual sites; 0 = as many as the data names.")] = 0,
    exclude: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Training images to leave out: columns file,reason; files relative to the data.",
        ),
    ] = None,
    out: Out = None,
    overrides: Overrides = None,
    logs: Logs = None,
    minutes: Minutes = 240.0,
) -> None:
    """Flower's simulation: N virtual sites on this machine.

    Example: fedpatchcore simulate --data images --sites 10 -c partition=dirichlet
    """
    from fedpatchcore.site.virtual import virtual_sites

    config = settings(overrides)
    if images := told_once(config, "data", "--data", data):
        config["data"] = str(_absolute(images))
    if config.get("manifest"):
        config["manifest"] = str(_absolute(config["manifest"]))
    if table := told_once(config, "exclude", "--exclude", exclude):
        config["exclude"] = str(_absolute(table))
    checked = RunConfig.parse(config, where="settings")
    parts = virtual_sites(checked, sites)
    show_partition(parts, tests=not checked.secure_figures)
    _run(_simulation(len(parts), logs), config, out, minutes, parts)


def rehearse(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with one sub-folder of images a site; default: the sample."),
    ] = None,
    out: Out = None,
    overrides: Overrides = None,
    logs: Logs = None,
    minutes: Minutes = 240.0,
) -> None:
    """A SuperLink and one SuperNode process per site over loopback, started and stopped for you.

    Each SuperNode is told its own folder and nothing of the others', as on separate machines.
    """
    from fedpatchcore.site.virtual import one_product, sample_folder

    config = settings(overrides)
    _refuse(config, DIVIDING, "each site has its own folder here: simulate divides one")
    _refuse(config, ("exclude",), "each site says itself what it leaves out: see 'node --exclude'")
    images = told_once(config, "data", "--data", data)
    root = _absolute(images) if images else sample_folder(5)
    if one_product(root):
        raise ConfigError(
            f"{root} is one product, no folder of sites: fedpatchcore simulate --data {root} "
            "-c partition=iid divides its images"
        )
    _run(_nodes(root, logs), config, out, minutes)


Start = tuple[Callable[[], AbstractContextManager[LocalFlower]], int]


def _simulation(sites: int, logs: Path | None = None) -> Start:
    return lambda: LocalFlower(simulation=True, logs=logs), sites


def _nodes(root: Path, logs: Path | None = None) -> Start:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise ConfigError(f"{root} has no sub-folders: one folder of images a site is needed")

    class Nodes(LocalFlower):
        def __enter__(self):
            super().__enter__()
            for folder in folders:
                self.supernode(folder.name, folder, app="installed")
            return self

    return lambda: Nodes(simulation=False, logs=logs), len(folders)


def _refuse(config: Mapping[str, Any], keys: Iterable[str], why: str) -> None:
    """Raise ConfigError for a setting that would be taken and have no effect."""
    if told := [key for key in keys if key in config]:
        raise ConfigError(f"-c {told[0]}: {why}")


def _absolute(path: str | Path) -> Path:
    """A path as Flower's processes find it, whatever folder they work in."""
    return Path(path).expanduser().resolve()


def _folder(config: dict[str, Any], out: Path | None) -> Path:
    """The folder of the run, made if it is a new one."""
    where = told_once(config, "out-dir", "--out", out)
    if run := resumed_folder(config):
        run = run.resolve()
        if where and _absolute(where) != run.parent:
            raise ConfigError(f"the run that goes on stays in {run}: leave --out out")
        return run
    if not (name := config.get("run-name")):
        return new_folder(_absolute(where or "runs"))
    run = _absolute(where or "runs") / name
    unused(run)
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
        private_folder(run)
    except OSError as error:
        raise RunError(f"cannot write results to {run} ({error.strerror}): use --out") from None
    return run


def _run(
    start: Start,
    config: dict[str, Any],
    out: Path | None,
    minutes: float,
    parts: Mapping[str, Mapping[str, Product]] | None = None,
) -> None:
    from fedpatchcore.data.counts import write_statistics

    begin, sites = start
    told = RunConfig.parse(config, where="settings")  # a typo is told before anything is started
    if told.secure_sums:
        from fedpatchcore.securesums.afford import alone_clash

        if clash := alone_clash(told, sites):
            raise ConfigError(clash)
    run = _folder(config, out)
    config = {
        **config,
        "out-dir": str(run.parent),
        "run-name": run.name,
        "expected-sites": config.get("expected-sites", sites),
        "min-sites": config.get("min-sites", min(2, sites)),
    }
    checked = RunConfig.parse(config, where="settings")
    if parts:
        with for_owner_alone():  # how many test images a site has is one of its figures
            write_statistics(parts, run / "partition.csv", tests=not checked.secure_figures)
    started = time.monotonic()
    tail: list[str] = []
    live = Follower(expected=sites) if console.is_terminal else None

    def show(line: str) -> None:
        if live:
            live.line(line)
        _, text = level_and_words(line)
        detail = text.startswith(("{", "[", "event {")) and not text.startswith("[ROUND")
        detail = detail or line.lstrip().startswith("{")  # a log of JSON objects
        detail = detail or FIGURE.match(text) is not None
        if text and not detail and not any(word in text for word in NOISE):
            tail.append(text)
            clock = f"[dim]{time.monotonic() - started:6.1f} s[/]  "
            if not live or "ended by itself" in text:
                console.print(clock + escape(text), soft_wrap=True)

    with console.status("starting Flower's processes") if console.is_terminal else nullcontext():
        flower = begin().__enter__()
    try:
        run_id = flower.submit(config, supernodes=sites)
        tick = live.tick if live else lambda: None
        with live or nullcontext():
            status = flower.follow(run_id, show, timeout=minutes * 60, tick=tick)
    finally:
        flower.stop()
    if status != "finished:completed":
        why = next((t for t in reversed(tail) if "run stopped" in t), tail[-1] if tail else "")
        raise RunError(f"the run ended as '{status}': {why}")
    if (run / "tuned.toml").is_file():
        console.print(f"\nsettings {run / 'tuned.toml'}")
        console.print(f"page     {run / 'tune.html'}")
        return
    print_table(run)
    console.print(f"\nbank     {run / 'bank.safetensors'}")
    if (run / "heatmaps").is_dir():
        console.print(f"pictures {run / 'heatmaps'}")
    elif config.get("heatmaps") != 0:
        console.print("pictures stay at the sites, each in its own results folder")
    console.print(f"report   {run / 'report.html'}")
