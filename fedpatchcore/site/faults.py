"""Faults of a site's images, said in the site's own log when it trains, as counts alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from fedpatchcore.data.check.looks import Looks
from fedpatchcore.data.check.running import gravest
from fedpatchcore.data.content import file_state
from fedpatchcore.data.products import Product
from fedpatchcore.features.cache import SiteCache

__all__ = ["tell_faults"]

RECIPE = 2  # raised whenever other faults are found


def tell_faults(
    products: Iterable[Product],
    looks: Looks,
    cache: SiteCache | None,
    say: Callable[[str], None],
) -> None:
    """Say what makes a bank or its figures wrong, with the command that shows where.

    What was found is kept in the cache until a file changes.

    Args:
        looks: what they see may serve others afterwards.
    """
    products = list(products)
    key = _key(products, str(looks.value_range or ""))
    entry = cache.get(key) if cache else None
    if entry:
        lines = entry[0]["lines"]
    else:
        lines = [f"{one.product}: {one.text}" for one in gravest(products, looks)]
        if cache:
            cache.put(key, {}, {"lines": lines})
    for line in lines:
        say(f"{line} ('fedpatchcore data check' shows them)")


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
