"""The settings that decide the bank, in the words of a run's log."""

from __future__ import annotations

from collections.abc import Iterator
from logging import INFO, WARNING
from pathlib import Path

from fedpatchcore.config import RunConfig

__all__ = ["summary"]


def summary(c: RunConfig, folder: Path) -> Iterator[tuple[int, str]]:
    """Lines, each with its level of `logging`."""
    yield INFO, f"backbone {c.backbone}, layers {c.layers or '(default)'}"
    yield INFO, f"aggregation {c.effective_aggregation}, {c.global_bank_size} rows a section"
    if c.dp != "off":
        yield INFO, f"differential privacy: {c.dp}, ε {c.dp_epsilon}, δ {c.dp_delta}"
    if c.attack:
        yield WARNING, f"ATTACK {c.attack} by {c.malicious_fraction} of the sites"
    if c.sites_per_round:
        yield INFO, f"{c.sites_per_round} sites a round, chosen by selection={c.selection}"
    if c.closes_early:
        yield INFO, f"a round goes on after {c.round_closes_at:.0%} of the sites have answered"
    yield INFO, f"at least {c.min_sites} sites, round timeout {c.round_timeout} s"
    yield INFO, f"results in {folder}"
