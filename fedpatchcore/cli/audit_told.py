"""What canaries showed of a mechanism, for a person or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.table import Table

from fedpatchcore.cli.common import console

if TYPE_CHECKING:
    from fedpatchcore.privacy.audit.canaries import MechanismAudit

__all__ = ["tell_mechanism"]


def tell_mechanism(
    result: MechanismAudit, runs: int, confidence: float, *, as_json: bool
) -> NoReturn:
    """Print what canaries showed, and leave with its exit code."""
    from fedpatchcore.privacy.audit.findings import figure, mechanism_verdict, plain

    verdict = mechanism_verdict(result)
    if as_json:
        told = {
            **asdict(result),
            "shown": result.shown,
            "contradicted": result.contradicted,
            "verdict": verdict,
        }
        print(json.dumps(plain(told)))
    else:
        told = f"{result.kind}, {runs:,} runs with the canary and without"
        table = Table("", "ε", "", title=told)
        table.columns[1].justify = "right"
        table.add_row("claimed", figure(result.claimed), "by the settings")
        table.add_row("of any image", figure(result.for_an_image), "by the accounting")
        table.add_row("of this canary", figure(result.for_the_canary), "computed, not measured")
        for name, bound in (("any mechanism", result.bound), ("Gaussian noise", result.gaussian)):
            if bound:
                most = f"if {name}; ceiling {figure(bound.ceiling)}, {confidence:.1%} confidence"
                table.add_row("shown, at least", figure(bound.epsilon), most)
        console.print(table)
        console.print(verdict, soft_wrap=True)
    raise typer.Exit(1 if result.contradicted else 0)
