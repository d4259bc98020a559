"""Events of a run of two sites, as its log holds them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = [
    "ROUND_ONE",
    "START",
    "asked",
    "evaluated",
    "event",
    "finished",
    "merged",
    "site",
    "trained",
]

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def event(what: str, at: float = 0, **facts) -> dict:
    moment = datetime.fromtimestamp(START.timestamp() + at, UTC)
    return {"time": moment.isoformat(), "event": what, **facts}


def site(name: str, images: int = 40, at: float = 1) -> dict:
    return event("site", at, site=name, products=["plate"], images=images, device="cpu")


def asked(number: int, *names: str, of: int = 2) -> dict:
    return event("round", 2, number=number, of=of, sites=list(names))


def trained(name: str, number: int = 1, kind: str = "full", at: float = 8, **facts) -> dict:
    figures = {"bytes": 2_000_000, "extract_seconds": 3.0, "select_seconds": 1.0, "bad": 0}
    counts = {"images": 36, "represented": 36, "patches": 9000, "rows": 500}
    return event(
        "trained", at, round=number, site=name, kind=kind, **{**figures, **counts, **facts}
    )


def evaluated(
    name: str, number: int = 1, *, found=None, stopped=None, **auroc: float | None
) -> dict:
    """As of an older version where nothing is ``found`` and ``stopped``, by product."""
    alone = dict.fromkeys(auroc, 0.5)
    facts = {"seconds": 2.0, "image_auroc": auroc, "local_image_auroc": alone}
    if found is not None:
        facts |= {"defects_found": found, "good_stopped": stopped}
    return event("evaluated", 20, round=number, site=name, **facts)


def merged(number: int = 1) -> dict:
    return event("merged", 12, round=number, rows=1000, bytes=4_000_000, seconds=0.5)


def finished() -> dict:
    row = {"product": "plate", "site": "north", "kind": "site", "local": 0.5, "federated": 1.0}
    mean = {**row, "site": "mean", "kind": "mean"}
    rows = [{**row, "pooled": None}, {**mean, "pooled": None}]
    return event("finished", 30, seconds=31.5, rows=rows, bank="/srv/b", report="/srv/r.html")


ROUND_ONE = (event("started", run="7", resumed_after=0), site("north"), site("south"))
