"""All checks over the products of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fedpatchcore.data.check.findings import Finding
from fedpatchcore.data.check.looks import look_at
from fedpatchcore.data.check.registry import CHECKS, GRAVE
from fedpatchcore.data.products import Product
from fedpatchcore.data.value_range import ValueRange

__all__ = ["check_products", "gravest"]


def check_products(
    products: Mapping[str, Product],
    value_range: ValueRange | None = None,
    done: Callable[[int], None] = lambda n: None,
) -> list[Finding]:
    """Every check of every product; ``done`` hears of each image that was opened."""
    return [
        finding
        for looked in look_at(products.values(), value_range, done)
        for check in CHECKS
        for finding in check(looked)
    ]


def gravest(products: Iterable[Product], value_range: ValueRange | None = None) -> list[Finding]:
    """The faults that make a bank or a figure wrong; opens each image once."""
    return [
        finding
        for looked in look_at(products, value_range)
        for check in GRAVE
        for finding in check(looked)
    ]
