"""Commands on image folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fedpatchcore.cli.common import Overrides, console, progress, settings, to_config, told_once
from fedpatchcore.errors import ConfigError

if TYPE_CHECKING:
    from fedpatchcore.data.products import Product

__all__ = ["partition", "sample", "show_partition"]

FACILITIES = 5  # of a sample


def sample(
    folder: Annotated[Path, typer.Argument(help="Folder to write, one sub-folder a site.")],
    sites: Annotated[
        int | None, typer.Option(help=f"Facilities; {FACILITIES} if not said.")
    ] = None,
    train: Annotated[int, typer.Option(help="Good training images per site and product.")] = 24,
    test: Annotated[int, typer.Option(help="Good and as many defective test images.")] = 8,
    seed: Annotated[int, typer.Option(help="Same seed, same images.")] = 0,
    scans: Annotated[
        bool,
        typer.Option(
            "--scans", help="Instead: DICOM files of three hospitals, phantoms of a head."
        ),
    ] = False,
) -> None:
    """Write synthetic inspection images with defects and masks, to try everything without data.

    Example: fedpatchcore sample scans --scans (docs/healthcare.md)
    """
    from fedpatchcore.data.sample import write_sample
    from fedpatchcore.data.sample.phantoms import write_phantoms

    if scans and sites is not None:
        raise ConfigError("--scans are always of three hospitals: leave --sites out, or --scans")
    with progress() as bar:
        task = bar.add_task("images", total=None)

        def shown(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        how = {"seed": seed, "train": train, "test_good": test, "progress": shown}
        if scans:
            write_phantoms(folder, test_found=test, **how)
        else:
            write_sample(
                folder, sites=FACILITIES if sites is None else sites, test_defective=test, **how
            )
    what, where = ("phantoms", "hospital") if scans else ("sample", "site")
    console.print(f"{what} written to {folder}: one folder a {where}, MVTec-AD layout")


def partition(
    data: Annotated[Path, typer.Argument(help="Image folder to divide over virtual sites.")],
    sites: Annotated[int, typer.Option(help="Virtual sites; 0 = as many as the data names.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Also write the table as csv.")] = None,
    overrides: Overrides = None,
) -> None:
    """Show how a simulation would divide a data set: images per site and product.

    Example: fedpatchcore partition images --sites 5 -c partition=dirichlet -c dirichlet-alpha=0.3
    """
    from fedpatchcore.data.counts import write_statistics
    from fedpatchcore.site.virtual import virtual_sites

    told_once(settings(overrides), "data", "the folder", data)
    parts = virtual_sites(to_config(overrides, data=str(data)), sites)
    show_partition(parts)
    if save:
        write_statistics(parts, save)
        console.print(f"written to {save}")


def show_partition(parts: Mapping[str, Mapping[str, Product]], *, tests: bool = True) -> None:
    """Print images per site and product; without ``tests`` those of training alone."""
    from fedpatchcore.data.counts import TESTS, statistics

    rows = statistics(parts)
    if not tests:
        rows = [{k: v for k, v in row.items() if k not in TESTS} for row in rows]
    table = Table()
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="left" if column == "site" else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
