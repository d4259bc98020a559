"""Fetch the released banks from a control room, once or again and again."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fedpatchcore.cli.common import console, finite
from fedpatchcore.errors import ConfigError, FedPatchCoreError

__all__ = ["pull_bank"]


def pull_bank(
    url: Annotated[str, typer.Argument(help="Address of the control room, https://…")],
    products: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PRODUCT...]", help="Whose banks; default: all of this site's."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the banks in use.")] = Path("banks"),
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with this site's key; else $FEDPATCHCORE_CONTROL_KEY."),
    ] = None,
    root_certificates: Annotated[
        Path | None, typer.Option(help="CA of the control room's certificate.")
    ] = None,
    signed_by: Annotated[
        str, typer.Option(help="The control room's public key, as 'control key' tells it.")
    ] = "",
    new_features: Annotated[
        bool,
        typer.Option("--new-features", help="Take a bank of other features than the one in use."),
    ] = False,
    every: Annotated[
        float,
        typer.Option(
            min=0, callback=finite, help="Look again after so many minutes, until stopped; 0: once."
        ),
    ] = 0.0,
    data: Annotated[
        Path | None,
        typer.Option(help="This site's images: also tell how many there are to learn from."),
    ] = None,
) -> None:
    """Fetch the released banks, keep the last two of each, and say which one this site judges by.

    Whatever goes wrong, the bank in use stays; with --every it is tried again.

    Example: fedpatchcore bank pull https://fed.example.com:8090 --key-file site.key --every 5
    """
    from fedpatchcore.deploy.pulling import pull, released, report_images

    key = _key(key_file)
    one = partial(
        pull,
        url,
        key,
        folder=out,
        signed_by=signed_by,
        new_features=new_features,
        root_certificates=root_certificates,
    )
    quiet = False
    while True:
        wrong = False
        try:
            for product in products or released(url, key, root_certificates=root_certificates):
                wrong |= _pull_one(one, product, quiet=quiet, again=every > 0)
            if data is not None:
                report_images(url, key, _images(data), root_certificates=root_certificates)
        except FedPatchCoreError as error:
            if not every:
                raise
            wrong = True
            _say(f"! {error}")
        if not every:
            return
        quiet = not wrong
        time.sleep(60 * every)


def _pull_one(one: partial, product: str, *, quiet: bool, again: bool) -> bool:
    """Fetch one bank and tell of it; True if it failed and is tried again."""
    try:
        told = one(product=product)
    except FedPatchCoreError as error:
        if not again:
            raise
        _say(f"! {product}: {error}")
        return True
    if told.new or not quiet:
        what = "new" if told.new else "as before"
        _say(f"{product}: bank {told.version}, {what}: {told.file}")
    return False


def _key(file: Path | None) -> str:
    try:
        key = file.read_text().strip() if file else ""
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    key = key or os.environ.get("FEDPATCHCORE_CONTROL_KEY", "")
    if not key:
        raise ConfigError("a site's key is needed: --key-file or $FEDPATCHCORE_CONTROL_KEY")
    return key


def _images(data: Path) -> int:
    from fedpatchcore.data.layouts.discovery import discover

    return sum(len(product.train) for product in discover(data).values())


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
