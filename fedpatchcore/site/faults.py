"""Faults of images: in a site's own log, when it trains, as counts alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from fedpatchcore.data.check.looks import Looks
from fedpatchcore.data.check.running import gravest
from fedpatchcore.data.content import file_state
from fedpatchcore.data.products import Product
from fedpatchcore.features.cache import SiteCache

__all__ = ["known_faults", "tell_faults"]

RECIPE = 2  # raised whenever other faults are found


def tell_faults(
    products: Iterable[Product],
    looks: Looks,
    cache: SiteCache | None,
    say: Callable[[str], None],
) -> None:
    """Say what makes a bank or its figures wrong, with the command that shows where."""
    for text, _ in known_faults(products, looks, cache):
        say(f"{text} ('fedpatchcore data check' shows them)")


def known_faults(
    products: Iterable[Product], looks: Looks, cache: SiteCache | None
) -> list[tuple[str, str]]:
    """What makes a bank or its figures wrong, kept in the cache until a file changes.

    Args:
        looks: what they see may serve others afterwards.

    Returns:
        Of each fault its counts alone, and the whole line with files and what mends it.
    """
    products = list(products)
    key = _key(products, str(looks.value_range or ""))
    if cache and (entry := cache.get(key)):
        return [(text, line) for text, line in entry[0]["faults"]]
    found = [(f"{one.product}: {one.text}", one.line) for one in gravest(products, looks)]
    if cache:
        cache.put(key, {}, {"faults": found})
    return found


def _key(products: Iterable[Product], value_range: str) -> str:
    files = [
        (product.name, kind, *file_state(path))
        for product in products
        for kind, paths in (
            ("train", product.train),
            *((item.label, (item.path,)) for item in product.test),
        )
        for path in paths
    ]
    return hashlib.sha256(repr(("faults", RECIPE, value_range, sorted(files))).encode()).hexdigest()
