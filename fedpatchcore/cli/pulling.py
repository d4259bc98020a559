"""Fetch the released bank from a control room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fedpatchcore.cli.common import console
from fedpatchcore.errors import ConfigError

__all__ = ["pull_bank"]


def pull_bank(
    url: Annotated[str, typer.Argument(help="Address of the control room, https://…")],
    products: Annotated[list[str], typer.Argument(metavar="PRODUCT...", help="Whose banks.")],
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
) -> None:
    """Fetch the released banks, keep the last two of each, and say which one this site judges by.

    Example: fedpatchcore bank pull https://fed.example.com:8090 plate --key-file site.key
    """
    from fedpatchcore.deploy.pulling import pull

    try:
        key = key_file.read_text().strip() if key_file else ""
    except OSError as error:
        raise ConfigError(f"cannot read {key_file}: {error.strerror}") from None
    key = key or os.environ.get("FEDPATCHCORE_CONTROL_KEY", "")
    if not key:
        raise ConfigError("a site's key is needed: --key-file or $FEDPATCHCORE_CONTROL_KEY")
    for product in products:
        told = pull(
            url,
            key,
            product,
            out,
            signed_by=signed_by,
            new_features=new_features,
            root_certificates=root_certificates,
        )
        what = "new" if told.new else "as before"
        console.print(f"{product}: bank {told.version}, {what}: {told.file}", markup=False)
