"""``fedpatchcore data``: what is wrong with a folder of images, and what mends it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from fedpatchcore.cli.common import Overrides, console, progress, take_place, to_config
from fedpatchcore.texts import counted

if TYPE_CHECKING:
    from fedpatchcore.data.check.findings import Finding
    from fedpatchcore.data.products import Product

__all__ = ["data"]

data = typer.Typer(no_args_is_help=True, help="Look at folders of images.")

SIGNS = {
    "fault": "[bold red]✗ fault[/]  ",
    "warning": "[yellow]! warning[/]",
    "note": "[dim]– note[/]   ",
}


@data.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of images, in any layout that fit takes.")],
    html: Annotated[
        Path | None, typer.Option(help="Also write a page with the pictures each finding is about.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the search for defects among the good.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Look for what spoils a bank or its figures; one line a finding, with what mends it.

    Copies and near-copies within the training images and across the test, defects among the good,
    blank, blurred, tiny and odd pictures, value ranges, masks. Exit code 0: nothing to mend; 1:
    faults or warnings; 2: the folder cannot be checked.

    Example: fedpatchcore data check images --html check.html
    """
    from fedpatchcore.data.group_by import BY_FOLDER
    from fedpatchcore.data.layouts.discovery import discover

    config = to_config(overrides)
    products = discover(
        folder, config.layout, config.product_names(), deep=config.group_by == BY_FOLDER
    )
    if html:
        take_place(html, "page")
    found = _findings(products, config, quick)
    if html:
        from fedpatchcore.data.value_range import parse_range
        from fedpatchcore.report.data_page import write_data_page

        write_data_page(html, folder, products, found, parse_range(config.value_range))
    if as_json:
        print(json.dumps([_row(one) for one in found], indent=1))
    else:
        _tell(products, found)
        if html:
            console.print(f"page with pictures: {html}")
    if any(one.kind != "note" for one in found):
        raise typer.Exit(1)


@data.command("planted")
def planted(
    folder: Annotated[Path, typer.Argument(help="Folder of images, in any layout that fit takes.")],
    html: Annotated[Path, typer.Option("--html", "-o", help="The page that is written.")],
    overrides: Overrides = None,
) -> None:
    """Show defects planted into training images: kinds, sizes and contrasts, before and after.

    They stand in for real defects where there are none, to choose settings and to see what a
    threshold finds. Look whether they are like what your parts may have. The same for the same
    seed (-c seed=…).

    Example: fedpatchcore data planted images -o planted.html
    """
    from fedpatchcore.data.layouts.discovery import discover
    from fedpatchcore.data.value_range import parse_range
    from fedpatchcore.report.planted_page import write_planted_page

    config = to_config(overrides)
    products = discover(folder, config.layout, config.product_names())
    take_place(html, "page")
    with progress() as bar:
        task = bar.add_task("products", total=len(products))
        notes = write_planted_page(
            html,
            folder,
            products,
            seed=config.seed,
            value_range=parse_range(config.value_range),
            done=lambda n: bar.advance(task, n),
        )
    for note in notes:
        console.print(note, markup=False)
    console.print(f"page with pictures: {html}", markup=False)


def _findings(products: dict[str, Product], config, quick: bool) -> list[Finding]:
    from fedpatchcore.data.check.grouped import groups_used
    from fedpatchcore.data.check.looks import Looks
    from fedpatchcore.data.check.running import check_products
    from fedpatchcore.data.value_range import parse_range

    count = sum(len(p.train) + len(p.test) for p in products.values())
    with progress() as bar:
        task = bar.add_task("images", total=count)
        looks = Looks(parse_range(config.value_range))
        found = check_products(products, looks, lambda n: bar.advance(task, n))
        for product in products.values():
            found += groups_used(product, config.group_by)
        if not quick:
            from fedpatchcore.detection.unlike import unlike_rest

            teaching = sum(len(p.train) for p in products.values())
            task = bar.add_task("defects among the good", total=teaching)
            for name, product in products.items():
                found += unlike_rest(
                    name,
                    product.train,
                    value_range=config.value_range,
                    done=lambda n: bar.advance(task, n),
                )
    order = list(products)
    return sorted(found, key=lambda one: order.index(one.product) if one.product else -1)


def _row(one: Finding) -> dict:
    return {
        "check": one.check,
        "kind": one.kind,
        "product": one.product,
        "text": one.text,
        "fix": one.fix,
        "paths": [str(path) for path in one.paths],
        "pairs": one.pairs,
    }


def _tell(products: dict[str, Product], found: Sequence[Finding]) -> None:
    for one in found:
        console.print(f"{SIGNS[one.kind]} {escape(one.line)}")
    images = sum(len(p.train) + len(p.test) for p in products.values())
    count = {kind: sum(one.kind == kind for one in found) for kind in ("fault", "warning")}
    told = ", ".join(counted(n, kind) for kind, n in count.items())
    console.print(f"{counted(len(products), 'product')}, {counted(images, 'image')}: {told}")
