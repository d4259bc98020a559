"""What a site looks at before it uses a bank that a server sent: what it can check, it checks.

Rows it cannot check: a bank that knows nothing, or everything, is the server's to send, and shows
in this site's own figures. But how a bank is scored, what it holds and how long its lists are
follow from the run's settings, which this site has read as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpatchcore.bank.section import SHARED
from fedpatchcore.errors import BankError

if TYPE_CHECKING:
    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.bank.section import Section
    from fedpatchcore.config import RunConfig

__all__ = ["MOST_SITES", "vet"]

MOST_SITES = 10_000  # of one federation: a site answers with a count a product for each of them
SCORED_BY = {
    "neighbours": 1,
    "reweight": 0,
    "votes": 1,
    "home": 0,
    "top": 0,
}  # where a bank is silent


def vet(bank: MemoryBank, config: RunConfig) -> None:
    """Raise BankError, naming what does not fit, unless this run can have made the bank."""
    asked = config.scoring
    for key, silent in SCORED_BY.items():
        said, wanted = bank.scoring.get(key, silent), asked.get(key, silent)
        if said != wanted:
            raise BankError(
                f"the bank received is scored with {key}={said}, this run's is {wanted}"
            )
    if len(bank.sites) > MOST_SITES or len(set(bank.sites)) < len(bank.sites):
        raise BankError(
            f"the bank received lists {len(bank.sites):,} sites, {len(set(bank.sites)):,} of them "
            f"different: a bank has at most {MOST_SITES:,}, each once"
        )
    for name, part in bank.sections.items():
        if reason := _misfit(name, part, config):
            raise BankError(f"the bank received: section '{name}' {reason}")


def _misfit(name: str, part: Section, config: RunConfig) -> str:
    """Why a section is not what the run makes; "" if it is."""
    if (name == SHARED) != (config.sections == "shared"):
        return f"is none of sections='{config.sections}'"
    if any(count < 0 for count in part.images.values()) or part.flagged < 0:
        return "counts fewer images or rows than none"
    if config.dp == "off" and len(part) > config.global_bank_size:
        return f"holds {len(part):,} rows, global-bank-size is {config.global_bank_size:,}"
    if (part.student is None) == (config.method == "student"):
        return f"is no section of method='{config.method}'"
    if part.row_metrics is not None:
        most = config.dp_regions
        if most == 1 or len(part) > most or part.row_metrics.shape[2] > config.dp_projection:
            return f"has {len(part)} rows with metrics of their own, dp-regions={most} makes fewer"
        return ""
    if part.metric is None:
        return ""
    if not (config.sums or config.kind.lens):
        return f"has a metric, which method='{config.method}' with dp='{config.dp}' does not make"
    widest = len(part.metric) if part.amplitudes is None else config.dp_waves
    if part.metric.shape[1] > widest:
        return f"has a metric of {part.metric.shape[1]:,} columns, at most {widest:,} are made"
    return ""
