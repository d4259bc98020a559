"""Candidates to be tried, and what a site says of them ↔ packets: figures alone.

A question names settings, and how many pictures they are tried on. An answer has a line for each
candidate and product: how often a picture with a planted defect outscores a good one, with its
interval, seconds and memory; or one line that says why a candidate was left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fedpatchcore.errors import CoresetError
from fedpatchcore.texts import is_name, one_line
from fedpatchcore.wire.bounds import (
    CANDIDATES,
    IMAGES,
    MOST,
    SECONDS,
    is_count,
    is_figure,
    is_share,
)
from fedpatchcore.wire.columns import columns, from_columns
from fedpatchcore.wire.packet import (
    Packet,
    check_texts,
    raise_failure,
    site_told,
    unreadable,
)

__all__ = [
    "TriedOut",
    "TuneQuestion",
    "TuneReply",
    "pack_tune",
    "pack_tune_question",
    "unpack_tune",
    "unpack_tune_question",
]

LONGEST = 2000  # characters of one candidate's settings


@dataclass(frozen=True)
class TuneQuestion:
    """Settings to try in place of the run's, on so many pictures a product.

    Attributes:
        candidates: tables of kebab-case settings; an empty one: as the run says.
    """

    candidates: tuple[Mapping[str, Any], ...]
    images: int


@dataclass(frozen=True)
class TriedOut:
    """A candidate on one product of a site.

    Attributes:
        candidate: its number in the question.
        images, planted: pictures, and defects planted into them.
        auroc: planted; ``low`` and ``high``: its 90% interval.
        seconds: a picture; ``memory``: bytes that the process took at most.
    """

    product: str
    candidate: int
    images: int
    planted: int
    auroc: float
    low: float
    high: float
    seconds: float
    memory: int


@dataclass(frozen=True)
class TuneReply:
    """A site's answer.

    Attributes:
        left_out: why, by number of the candidate.
        seconds: of the whole.
    """

    site: str
    tried: tuple[TriedOut, ...]
    left_out: Mapping[int, str]
    seconds: float = 0.0


def pack_tune_question(question: TuneQuestion) -> Packet:
    """The server's question as a packet."""
    told = [json.dumps(dict(one), sort_keys=True) for one in question.candidates]
    return Packet(numbers={"images": [question.images]}, texts={"candidates": told})


def unpack_tune_question(packet: Packet) -> TuneQuestion:
    """Inverse of `pack_tune_question`. Raises CoresetError."""
    try:
        check_texts(packet)
        told, (images,) = packet.texts["candidates"], packet.numbers["images"]
        if isinstance(told, str) or not 0 < len(told) <= CANDIDATES:
            raise ValueError(f"1 to {CANDIDATES} candidates are taken")
        if not is_count(images, IMAGES) or not images:
            raise ValueError(f"candidates on {one_line(repr(images), 40)} images")
        return TuneQuestion(tuple(map(_settings, told)), images)
    except (KeyError, ValueError, TypeError) as error:
        raise unreadable("candidates", error) from None


def _settings(text: object) -> dict[str, Any]:
    """A flat table of plain values. Raises ValueError, TypeError."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError("a candidate that is no short text")
    try:
        table = json.loads(text)
    except RecursionError:
        raise ValueError("a candidate nested without end") from None
    if not isinstance(table, dict):
        raise ValueError("a candidate that is no table")
    for value in table.values():
        if not isinstance(value, str | bool | int | float) or value != value:
            raise ValueError(f"a setting that is {one_line(repr(value), 40)}")
    return table


def pack_tune(reply: TuneReply) -> Packet:
    """A site's figures as a packet."""
    numbers = columns(reply.tried, TriedOut)
    products = numbers.pop("product")
    numbers["seconds_in_all"] = [reply.seconds]
    numbers["left_out"] = sorted(reply.left_out)
    texts = {"site": reply.site, "products": products}
    texts["reasons"] = [one_line(reply.left_out[at]) for at in sorted(reply.left_out)]
    return Packet(numbers=numbers, texts=texts)


def unpack_tune(packet: Packet, question: TuneQuestion) -> TuneReply:
    """Inverse of `pack_tune`, of an answer to ``question``. Raises SiteFailure or CoresetError."""
    raise_failure(packet)
    try:
        check_texts(packet)
        products = list(packet.texts["products"])
        table = {**packet.numbers, "product": products}
        tried = tuple(from_columns(table, TriedOut, len(products)))
        for one in tried:
            _check(one, question)
        if len({(one.product, one.candidate) for one in tried}) < len(tried):
            raise ValueError("a candidate told twice of one product")
        numbers, reasons = packet.numbers["left_out"], packet.texts["reasons"]
        if len(numbers) != len(reasons) or isinstance(reasons, str):
            raise ValueError("candidates left out without a reason each")
        known = range(len(question.candidates))
        left_out = {
            n: one_line(str(why)) for n, why in zip(numbers, reasons, strict=True) if _in(n, known)
        }
        if len(left_out) < len(numbers) or set(left_out) & {one.candidate for one in tried}:
            raise ValueError("candidates left out that were not asked for, or were tried")
        (seconds,) = packet.numbers["seconds_in_all"]
        if not is_figure(seconds, SECONDS):
            raise ValueError("seconds that are none")
        return TuneReply(site_told(packet), tried, left_out, float(seconds))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise unreadable("an answer to candidates", error) from None


def _in(number: object, known: range) -> bool:
    return type(number) is int and number in known


def _check(one: TriedOut, question: TuneQuestion) -> None:
    """Raise ValueError for figures that no trial gives."""
    if not one.product or not is_name(one.product):
        raise ValueError(f"a product called {one_line(repr(one.product), 60)}")
    if not _in(one.candidate, range(len(question.candidates))):
        raise ValueError("a candidate that was not asked for")
    fits = {
        "images": is_count(one.images, question.images) and one.images > 0,
        "planted": is_count(one.planted, IMAGES) and one.planted > 0,
        "auroc": is_share(one.auroc),
        "low": is_share(one.low),
        "high": is_share(one.high),
        "seconds": is_figure(one.seconds, SECONDS),
        "memory": is_count(one.memory, MOST),
    }
    if set(fits) | {"product", "candidate"} != {item.name for item in fields(TriedOut)}:
        raise CoresetError("figures of a trial that nobody checks")
    if bad := [name for name, fit in fits.items() if not fit]:
        told = one_line(repr(getattr(one, bad[0])), 60)
        raise ValueError(f"'{bad[0]}' of a candidate is {told}")
    if not one.low - 1e-9 <= one.auroc <= one.high + 1e-9 and not math.isclose(one.low, one.high):
        raise ValueError("an interval beside its figure")
