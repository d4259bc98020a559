"""All checks over the products of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fedpatchcore.data.check.findings import Finding
from fedpatchcore.data.check.looks import Looks, look_at
from fedpatchcore.data.check.registry import CHECKS, GRAVE
from fedpatchcore.data.products import Product

__all__ = ["check_products", "gravest"]


def check_products(
    products: Mapping[str, Product],
    looks: Looks | None = None,
    done: Callable[[int], None] = lambda n: None,
) -> list[Finding]:
    """Every check of every product; ``done`` hears of each image that was opened."""
    return [
        finding
        for looked in look_at(products.values(), looks or Looks(), done)
        for check in CHECKS
        for finding in check(looked)
    ]


def gravest(products: Iterable[Product], looks: Looks | None = None) -> list[Finding]:
    """The faults that make a bank or a figure wrong."""
    return [
        finding
        for looked in look_at(products, looks or Looks())
        for check in GRAVE
        for finding in check(looked)
    ]
