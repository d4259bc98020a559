"""A site's replies at the server: are they what was asked for, and what is noted of them."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from dataclasses import asdict
from typing import Any

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED
from fedpatchcore.config import RunConfig
from fedpatchcore.data.amounts import images_told
from fedpatchcore.errors import CoresetError
from fedpatchcore.robustness.validation import MAX_ROWS, limits_of, screen
from fedpatchcore.site.selection import coreset_size
from fedpatchcore.site.withholding import FROM_TRAINING
from fedpatchcore.texts import one_line
from fedpatchcore.wire.messages import (
    COVERAGE_SITES,
    EvaluateReply,
    ProductResult,
    SectionStats,
    TrainReply,
)
from fedpatchcore.wire.results import check_result

__all__ = [
    "check_evaluation",
    "check_more",
    "check_reply",
    "check_rows",
    "evaluate_record",
    "train_line",
    "train_record",
]

MEMORY = ("extract", "select", "extract_cuda", "select_cuda")  # bytes at most
LARGEST = 5  # other sites whose counts are kept of more than COVERAGE_SITES sites


def check_reply(reply: TrainReply, config: RunConfig) -> None:
    """Whether its kind fits its content and the run. Raises CoresetError."""
    site = reply.site
    _check_number(site, {s.section for s in reply.stats} | set(reply.releases or ()), config)
    shared = config.sections == "shared"
    for name in sorted({s.section for s in reply.stats} | set(reply.releases or ())):
        if (name == SHARED) != shared:
            raise CoresetError(
                f"site '{site}' sent a section '{name}', which sections='{config.sections}' has not"
            )
    for stats in reply.stats:
        stats.check(site)
    if (reply.contribution is None) != (reply.kind in ("none", "sums", "masked")):
        raise CoresetError(f"site '{site}' sent a '{reply.kind}' reply that does not fit it")
    if config.dp != "off" and reply.privacy is None:
        raise CoresetError(f"site '{site}' answered a private run without a ledger's word")
    asked = "masked" if config.secure_sums else "sums"
    if (config.sums or reply.kind == "masked") and reply.kind != asked:
        raise CoresetError(f"site '{site}' answered with '{reply.kind}', asked were noisy sums")


def check_rows(given: Contribution, reply: TrainReply, config: RunConfig) -> None:
    """Whether the rows are possible and as many as claimed. Raises CoresetError."""
    given.check()
    _screen(given, config)
    if reply.kind == "sums":
        return
    stats = {s.section: s for s in reply.stats}
    for name, part in given.parts.items():
        claimed = stats[name].rows if name in stats else 0
        if claimed != len(part.features):
            raise CoresetError(
                f"section '{name}' of site '{reply.site}' claims {claimed:,} rows "
                f"and holds {len(part.features):,}"
            )
        _check_asked(part, stats[name], given, config)


def check_more(old: Contribution | None, new: Contribution, config: RunConfig) -> None:
    """Whether a site's rows of all rounds are of no more sections than a run takes from it."""
    _check_number(new.site, {*(old.parts if old else ()), *new.parts}, config)


def check_evaluation(reply: EvaluateReply, config: RunConfig, bank: MemoryBank | None) -> None:
    """Whether its figures are such as an evaluation of this bank gives. Raises CoresetError."""
    products = {result.product for result in reply.results}
    _check_number(reply.site, products, config)
    if len(products) < len(reply.results):
        raise CoresetError(f"site '{reply.site}' tells of a product twice")
    for result in reply.results:
        try:
            check_result(result)
        except (ValueError, TypeError) as error:
            raise CoresetError(f"site '{reply.site}': {one_line(error)}") from None
    for result in reply.results:
        if bank is None or len(result.coverage) != len(bank.sites):
            raise CoresetError(f"site '{reply.site}' evaluated another bank than this one")
        if not {SHARED, result.product} & set(bank.sections):
            raise CoresetError(
                f"site '{reply.site}' evaluated '{result.product}', which the bank has not"
            )


def _check_number(site: str, names: Sized, config: RunConfig) -> None:
    """Whether one site brings no more products than a run takes from it. Raises CoresetError."""
    if len(names) > config.max_products:
        raise CoresetError(
            f"site '{site}' brings {len(names):,} products, max-products is {config.max_products:,}"
        )


def _check_asked(part: Part, stats: SectionStats, given: Contribution, config: RunConfig) -> None:
    """Whether a section holds no more rows than were asked for. Raises CoresetError.

    By coreset-ratio that depends on the number of patches, and an image has no more patches than
    pixels.
    """
    if not len(part.features):
        return
    where = f"section '{stats.section}' of site '{given.site}'"
    most = part.images * given.fingerprint.image_size**2
    if config.dp == "off" and part.patches > most:
        raise CoresetError(
            f"{where} claims {part.patches:,} patches of {part.images:,} images, which have "
            f"{most:,} pixels"
        )
    looked = math.ceil(part.patches * (1 + stats.bad / part.images))  # unreadable ones count too
    if len(part.features) > (asked := coreset_size(config, looked)):
        raise CoresetError(f"{where} holds {len(part.features):,} rows, asked were {asked:,}")


def _screen(given: Contribution, config: RunConfig) -> None:
    """Refuse rows that this backbone cannot produce. Raises CoresetError.

    Noised or averaged rows are no features as they are: only the caps hold for them.
    """
    most = max(MAX_ROWS, config.coreset_size)
    exact = config.dp == "off" and not config.kind.averages
    limits = limits_of(given.fingerprint, exact=exact, max_rows=most)
    for section, part in given.parts.items():
        screen(given.site, section, part.features, limits, images=part.images)


def train_record(reply: TrainReply, seconds: float) -> dict[str, Any]:
    """What the round's record keeps of a reply that took ``seconds`` to come."""
    return {
        "kind": reply.kind,
        "bytes": reply.nbytes,
        "wire_bytes": reply.wire_bytes,
        "wire_errors": dict(reply.travelled.errors) if reply.travelled else {},
        "extract_seconds": reply.extract_seconds,
        "select_seconds": reply.select_seconds,
        "round_trip_seconds": seconds,
        "memory": dict(zip(MEMORY, reply.memory, strict=True)),
        "sections": [asdict(s) for s in reply.stats],
        "privacy": reply.privacy.model_dump(mode="json") if reply.privacy else None,
    }


def evaluate_record(
    reply: EvaluateReply, sites: Sequence[str], notes: Sequence[str] = (), *, withheld: bool = False
) -> dict[str, Any]:
    """What the round's record keeps of a reply and of its ``notes``; ``sites`` are the bank's.

    ``coverage`` is the list of counts by site of the bank. Of more than `COVERAGE_SITES` sites it
    is ``{"patches": all of them, "sites": {site: count}}`` with the replying site and the
    `LARGEST` others, so that the record grows with the number of sites and not with its square.

    What sites keep of a private run (``withheld``) is None, not the empty figure that came.
    """
    return {
        "seconds": None if withheld else reply.seconds,
        "products": {
            r.product: _result_record(r, reply.site, sites)
            | (dict.fromkeys(FROM_TRAINING) if withheld else {})
            for r in reply.results
        },
        "notes": list(notes),
        "memory": dict(zip(("evaluate", "evaluate_cuda"), reply.memory, strict=True)),
    }


def _result_record(result: ProductResult, site: str, sites: Sequence[str]) -> dict[str, Any]:
    told = asdict(result)
    if not result.planted_pictures:  # two zeros a cell of the grid say nothing
        told = {key: value for key, value in told.items() if not key.startswith("planted_")}
    if len(sites) > COVERAGE_SITES:
        counts = [(n, name) for n, name in zip(result.coverage, sites, strict=True) if n]
        kept = [one for one in counts if one[1] == site]
        others = sorted((one for one in counts if one[1] != site), key=lambda one: -one[0])
        told["coverage"] = {
            "patches": sum(result.coverage),
            "sites": {name: n for n, name in kept + others[:LARGEST]},
        }
    return told


def train_line(reply: TrainReply) -> str:
    """What the log says of a reply."""
    if reply.privacy is not None:
        return (
            f"{reply.site}: {reply.wire_bytes / 1e6:.2f} MB of {reply.privacy.mechanism} release, "
            f"ε spent {reply.privacy.spent:.4g} of {reply.privacy.budget:g} (counts withheld)"
        )
    keys = ("represented", "held_out", "bad", "patches", "rows")
    totals = {k: sum(getattr(s, k) for s in reply.stats) for k in keys}
    images = images_told(totals["represented"], totals["held_out"], totals["bad"])
    return (
        f"{reply.site}: {images}, {totals['patches']:,} patches → "
        f"{totals['rows']:,} rows, {reply.wire_bytes / 1e6:.2f} MB, "
        f"{reply.extract_seconds + reply.select_seconds:.1f} s"
        + (f", {out} excluded by hand" if (out := sum(s.excluded for s in reply.stats)) else "")
        + (" (nothing new)" if reply.kind == "none" else "")
    )
