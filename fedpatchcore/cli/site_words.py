"""Options by which a site speaks for itself, alike at its worker and at its node."""

from __future__ import annotations

from typing import Annotated

import typer

from fedpatchcore.cli.common import finite

__all__ = [
    "DpBudget",
    "DpRequired",
    "Hours",
    "Ledger",
    "Roster",
    "SiteName",
    "SiteWeights",
    "SumsKey",
    "Weekdays",
]

SiteName = Annotated[str, typer.Option(help="This site's name.")]
SiteWeights = Annotated[str, typer.Option(help="Weights file at this site.")]
Ledger = Annotated[
    str, typer.Option(help="Folder of this site's privacy ledger; it must outlive every run.")
]
DpRequired = Annotated[
    bool, typer.Option("--dp-required", help="Refuse runs without differential privacy.")
]
DpBudget = Annotated[
    float,
    typer.Option(
        callback=finite, help="This site's own cap on ε per image over all runs; 0 = the run's."
    ),
]
Roster = Annotated[
    str, typer.Option(help="Secure sums: signed list of sites, beside the ca.crt that signed it.")
]
SumsKey = Annotated[str, typer.Option(help="Secure sums: this site's own sums.key.")]
Hours = Annotated[str, typer.Option(help="When it takes part: '22:00-06:00'.")]
Weekdays = Annotated[str, typer.Option(help="On which its hours begin: 'mon-fri'.")]
