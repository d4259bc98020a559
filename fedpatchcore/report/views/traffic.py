"""Bytes and seconds of each site in each round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.report.model import Row, Section, Table, row, table
from fedpatchcore.report.story import MANY_SITES, WITHHELD, Story
from fedpatchcore.report.words import seconds, size

__all__ = ["Round", "traffic"]

KINDS = {
    "full": "whole coreset",
    "delta": "what was new",
    "none": "nothing new",
    "sums": "noisy sums",
}
HEAD = (
    "site",
    "sent",
    "images",
    "taught",
    "held out",
    "from cache",
    "unreadable",
    "rows",
    "bytes up",
    "extract",
    "select",
    "round trip",
    "evaluate",
    "memory",
)
ON_THE_WIRE = ("up, on the wire", "down, on the wire")


@dataclass(frozen=True)
class Round:
    """Traffic of one round, bytes and seconds; 0 or None where not told.

    Attributes:
        up, wire_up: all rows that sites sent, before and after encoding.
        bank: the bank that went to each site.
        phases: what was sent to sites, and the most that one site was sent of it.
        merge: memory at the server.
        slowest: a site and its round trip.
    """

    number: object
    sites: int
    up: int
    wire_up: int | None
    bank: int
    phases: list[tuple[str, int]]
    merge: int
    slowest: tuple[str, float] | None
    table: Table


@dataclass(frozen=True)
class Traffic:
    """All rounds."""

    rounds: list[Round]


def traffic(story: Story) -> list[Section]:
    """Bytes and seconds of each site in each round."""
    wires = any("wire" in record for record in story.rounds)
    view = Traffic([_round(record, wires, story.withholds) for record in story.rounds])
    return [Section("Bytes and seconds", "traffic", "traffic.html.j2", view)]


def _round(record: Mapping[str, Any], wires: bool, silent: bool) -> Round:
    train, told = record.get("train") or {}, record.get("evaluate") or {}
    down = (record.get("wire") or {}).get("down") or {}  # bytes sent to each site, by phase
    rows = []
    for site in sorted({*train, *told}):
        sent = sum(phase.get(site) or 0 for phase in down.values()) if wires else None
        rows.append(_trip(site, train.get(site) or {}, told.get(site) or {}, silent, sent))
    trips = ((t.get("round_trip_seconds") or 0, s) for s, t in train.items())
    longest, slowest = max(trips, default=(0, ""))
    return Round(
        number=record.get("round"),
        sites=len(train),
        up=sum(t.get("bytes") or 0 for t in train.values()),
        wire_up=sum(map(_wire_bytes, train.values())) if wires else None,
        bank=record.get("bytes_down") or 0,
        phases=[(what, max(sent.values())) for what, sent in down.items() if sent],
        merge=(record.get("memory") or {}).get("merge") or 0,
        slowest=(slowest, longest) if longest else None,
        table=table(
            [*HEAD, *(ON_THE_WIRE if wires else ())],
            rows,
            left=2,
            fold=f"all {len(rows)} sites" if len(rows) > MANY_SITES else "",
        ),
    )


def _wire_bytes(train: Mapping[str, Any]) -> int:
    return train.get("wire_bytes", train.get("bytes")) or 0


def _trip(
    site: str, train: Mapping[str, Any], told: Mapping[str, Any], silent: bool, down: int | None
) -> Row:
    """A site's line; where it answered with noise, its counts and seconds are withheld."""
    stats = train.get("sections") or []
    private = bool(train.get("privacy"))

    def total(*keys: str) -> str:
        count = sum(s.get(key) or 0 for s in stats for key in keys)
        return WITHHELD if private else f"{count:,}"

    rows = f"{sum(s.get('rows') or 0 for s in stats):,}"
    rows = WITHHELD if private and not stats else rows
    return row(
        site,
        KINDS.get(train.get("kind"), "–"),
        total("represented", "held_out", "bad"),
        total("represented"),
        total("held_out"),
        total("cached"),
        total("bad"),
        "–" if train.get("kind") == "sums" else rows,
        size(train.get("bytes") or 0),
        WITHHELD if private else seconds(train.get("extract_seconds")),
        WITHHELD if private else seconds(train.get("select_seconds")),
        seconds(train.get("round_trip_seconds") or None),
        WITHHELD if silent and told else seconds(told.get("seconds")),
        WITHHELD if private else size(most) if (most := _most_memory(train, told)) else "–",
        *([] if down is None else [size(_wire_bytes(train)), size(down)]),
    )


def _most_memory(*told: Mapping[str, Any]) -> int:
    """The largest of what a site's phases took, in bytes; 0 where not told."""
    return max((n for one in told for n in (one.get("memory") or {}).values()), default=0)
