"""``fedpatchcore tune``: which settings suit these parts, found without a single defect."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import (
    Overrides,
    console,
    finite,
    number,
    progress,
    settings,
    to_config,
    told_once,
    warn,
)
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.texts import counted, together

if TYPE_CHECKING:
    from fedpatchcore.config import RunConfig
    from fedpatchcore.features.cache import SiteCache
    from fedpatchcore.tuning.candidates import Candidate
    from fedpatchcore.tuning.plan import Plan
    from fedpatchcore.tuning.ranking import Ranked
    from fedpatchcore.tuning.search import Found

__all__ = ["tune"]


def tune(
    data: Annotated[Path, typer.Argument(help="Folder of images, in any layout that fit takes.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for settings, table, page and state.")
    ] = Path("tuned"),
    minutes: Annotated[
        float,
        typer.Option(
            min=0.0,
            callback=finite,
            help="Time for trials; the first step is made whatever it takes.",
        ),
    ] = 30.0,
    images: Annotated[
        int, typer.Option(min=8, help="Training images a product that are tried at most.")
    ] = 60,
    candidates: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            help="Try these instead: a file with a table of settings for each.",
        ),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Training images to leave out: columns file,reason."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Images that belong together: columns file,group."),
    ] = None,
    memory: Annotated[
        float,
        typer.Option(min=0.0, callback=finite, help="GB a trial may take; 0: what is free."),
    ] = 0.0,
    overrides: Overrides = None,
) -> None:
    """Choose settings for these parts from images of good ones alone.

    Defects are planted into training images; candidates are ranked by how well scores of banks
    without an image tell it from itself with a defect. Backbones whose weights are here,
    geometries, sizes, memory, scores; what --candidates names. Planted defects are not real ones:
    the figures are for choosing, never for promising. A tune that was killed goes on where it was.

    Example: fedpatchcore tune images/bolt -o tuned --minutes 20; then
    fedpatchcore fit images/bolt -c tuned/tuned.toml
    """
    from fedpatchcore.cli.fit import own_cache
    from fedpatchcore.report.tune_page import write_tune
    from fedpatchcore.site.setup import use_threads
    from fedpatchcore.tuning.search import Search
    from fedpatchcore.tuning.state import State, question

    config = to_config(overrides)
    use_threads(config.threads)
    exclude = told_once(settings(overrides), "exclude", "--exclude", exclude)
    cache = own_cache(config)
    plans, taken = _plans(config, data, images, Path(exclude) if exclude else None, groups, cache)
    tried = _named(candidates, config) if candidates else _all(config, plans)
    state = State.open(out / "state.json", question(config, plans))
    if state.trials:
        console.print(f"going on in {out}: {len(state.trials)} trials are there", markup=False)
    late = False
    with progress() as bar:
        task = bar.add_task("", total=None)

        def begun(one: Candidate, count: int) -> None:
            nonlocal late
            told = f"{counted(count, 'image')}: {one.name}"
            bar.update(task, description=escape(told), completed=0)
            if not console.is_terminal:
                console.print(told, markup=False)
            if state.spent > 60 * minutes and not late:
                late = True
                warn(
                    f"{minutes:g} minutes are up; the first step goes on to its end, so that all "
                    f"candidates are compared: {len(state.trials)} of {len(tried)} are tried"
                )

        search = Search(
            config,
            plans,
            tried,
            state,
            minutes,
            cache=cache,
            memory=memory * 1e9,
            begun=begun,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
        try:
            found = search.run()
        except KeyboardInterrupt:
            kept = f"{len(state.trials)} trials are in {out}, and the same command goes on"
            raise KeyboardInterrupt(kept) from None
    written = write_tune(out, found, config, images=taken)
    _tell(found, minutes)
    for what, path in written.items():
        console.print(f"{what:9}{path}", markup=False)
    console.print(f"use it:  fedpatchcore fit {data} -c {written['settings']}", markup=False)


def _plans(
    config: RunConfig,
    data: Path,
    most: int,
    exclude: Path | None,
    groups: Path | None,
    cache: SiteCache | None,
) -> tuple[list[Plan], dict[str, int]]:
    """Of each product that has enough images; the others are told."""
    from fedpatchcore.cli.fit import grouped, without_excluded
    from fedpatchcore.data.check.looks import Looks
    from fedpatchcore.data.group_by import BY_FOLDER
    from fedpatchcore.data.layouts.discovery import discover
    from fedpatchcore.data.value_range import parse_range
    from fedpatchcore.tuning.plan import planned

    deep = config.group_by == BY_FOLDER
    products = discover(data, config.layout, config.product_names(), deep=deep)
    products, _ = without_excluded(products, exclude, data)
    looks = Looks(parse_range(config.value_range))
    belong = grouped(config, products, groups, data, looks, cache)
    plans, why = [], f"{data} has no training images of good parts"
    for name, product in products.items():
        try:
            plans.append(planned(name, product.train, most=most, seed=config.seed, groups=belong))
        except DataError as error:
            why = str(error)
            warn(why)
    if not plans:
        raise DataError(why)
    return plans, {plan.product: len(plan.paths) for plan in plans}


def _all(config: RunConfig, plans: list[Plan]) -> list[Candidate]:
    from fedpatchcore.features.cost import sizes_of
    from fedpatchcore.tuning.candidates import coarse, present_backbones

    present, absent = present_backbones(config)
    if absent:
        console.print(
            f"without weights here, not tried: {', '.join(absent)} (fedpatchcore weights import)",
            markup=False,
        )
    sizes = [size for plan in plans for size in sizes_of(plan.paths, len(plan.paths))]
    return coarse(config, present, square=all(width == height for width, height in sizes))


def _named(file: Path, config: RunConfig) -> list[Candidate]:
    from fedpatchcore.tuning.candidates import named_candidates

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{file} is no TOML: {error}") from None
    return named_candidates(table, config)


def _tell(found: Found, minutes: float) -> None:
    for line in together(found.left_out):
        warn(line, "left out: ")
    if not found.in_time:
        warn(f"--minutes {minutes:g} were up before all was tried: a larger number gives more")
    console.print(_table(found))
    for line in found.words():
        console.print(line, markup=False)


def _table(found: Found) -> Table:
    from fedpatchcore.tuning.ranking import front

    best = {one.name for one in front(found.ranking)}
    table = Table(title="planted image AUROC, the best first", title_justify="left")
    for column in ("", "candidate", "images", "AUROC", "90%", "over told", "90%", "s/image", "GB"):
        table.add_column(column, justify="left" if column in ("", "candidate") else "right")
    for one in found.ranking:
        table.add_row("◆" if one.name in best else "", *_cells(one))
    if found.earlier:
        table.add_section()
    for one in found.earlier:
        table.add_row("", *_cells(one), style="dim")
    table.caption = "◆ no other is both better and quicker"
    return table


def _cells(one: Ranked) -> list[str]:
    return [
        escape(one.name),
        str(one.images),
        number(one.auroc),
        f"{one.low:.3f} to {one.high:.3f}",
        *one.gained,
        number(one.seconds),
        f"{one.memory / 1e9:.2f}",
    ]
