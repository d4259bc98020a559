"""Partitions of a data set: each image is dealt to exactly one of so many sites.

The schemes are described in `fedpatchcore.data.partition`. Good images and each kind of defect
are dealt separately, so that sites resemble each other as far as the scheme allows.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from fedpatchcore.data.products import Product
from fedpatchcore.errors import DataError

__all__ = ["Parts", "complete", "deal_category", "deal_dirichlet", "deal_iid"]

Parts = dict[str, dict[str, Product]]
"""Site → product name → product."""

_REDRAWS = 100


def deal_iid(products: Mapping[str, Product], sites: range, seed: int) -> Parts:
    """Deal like cards; the next product goes on where the last one stopped."""
    parts: Parts = {_site(number): {} for number in sites}
    turn = {"train": 0, "test": 0}
    for name, product in products.items():
        rng = _rng(seed, name)
        owners = []
        for kind, size in _strata(product):
            order = rng.permutation(size)
            owner = np.empty(size, dtype=np.int64)
            owner[order] = (turn[kind] + np.arange(size)) % len(sites)
            turn[kind] += size
            owners.append(owner)
        _hand_out(parts, product, owners)
    return parts


def deal_category(products: Mapping[str, Product], sites: int, seed: int) -> Parts:
    """Whole products, largest first, to the site with the fewest training images."""
    largest = sorted(products.values(), key=lambda product: (-len(product.train), product.name))
    if len(products) >= sites:
        parts: Parts = {_site(number): {} for number in range(sites)}
        load = [0] * sites
        for product in largest:
            number = min(range(sites), key=lambda site: (load[site], site))
            parts[_site(number)][product.name] = product
            load[number] += len(product.train)
        return {site: dict(sorted(own.items())) for site, own in parts.items()}
    shares = dict.fromkeys(products, 1)
    for _ in range(sites - len(products)):  # d'Hondt: one more site where each has most to do
        crowded = max(largest, key=lambda product: len(product.train) / (shares[product.name] + 1))
        shares[crowded.name] += 1
    parts = {}
    for name, product in products.items():
        block = range(len(parts), len(parts) + shares[name])
        parts |= deal_iid({name: product}, block, seed)
    return parts


def deal_dirichlet(products: Mapping[str, Product], sites: int, seed: int, alpha: float) -> Parts:
    """Cut each shuffled product at the cumulated shares; draw again while a site goes empty."""
    for draw in range(_REDRAWS):
        parts: Parts = {_site(number): {} for number in range(sites)}
        for name, product in products.items():
            rng = _rng(seed, name, draw)
            edges = np.cumsum(rng.dirichlet(np.full(sites, alpha)))[:-1]
            owners = []
            for _, size in _strata(product):
                owner = np.empty(size, dtype=np.int64)
                owner[rng.permutation(size)] = np.searchsorted(
                    edges, (np.arange(size) + 0.5) / max(size, 1)
                )
                owners.append(owner)
            _hand_out(parts, product, owners)
        if all(_has_training(own) for own in parts.values()):
            return parts
    raise DataError(
        f"{_REDRAWS} draws of the dirichlet partition left a site without training images; "
        f"raise dirichlet-alpha ({alpha:g}) or use fewer sites ({sites})"
    )


def _strata(product: Product) -> list[tuple[str, int]]:
    """Sizes of the groups dealt separately: training images, then each test label, sorted."""
    labels = [item.label for item in product.test]
    return [
        ("train", len(product.train)),
        *(("test", labels.count(label)) for label in sorted(set(labels))),
    ]


def _hand_out(parts: Parts, product: Product, owners: list[np.ndarray]) -> None:
    """Give each site its images of a product, in the layout's order.

    Args:
        parts: extended in place.
        product: the whole product.
        owners: as `_strata`, position of the site in `parts` of each image, int64 [size].
    """
    labels = sorted({item.label for item in product.test})
    by_label = {
        label: iter(owner.tolist()) for label, owner in zip(labels, owners[1:], strict=True)
    }
    test_owner = [next(by_label[item.label]) for item in product.test]
    for position, own in enumerate(parts.values()):
        train = tuple(
            path
            for path, owner in zip(product.train, owners[0].tolist(), strict=True)
            if owner == position
        )
        test = tuple(
            item for item, owner in zip(product.test, test_owner, strict=True) if owner == position
        )
        if train or test:
            own[product.name] = Product(product.name, train, test, product.root, product.saturation)


def complete(parts: Parts, sites: int) -> Parts:
    """The parts themselves; raises DataError if a site is without training images."""
    for site, own in parts.items():
        if not _has_training(own):
            raise DataError(f"{site} of {sites} would get no training image; use fewer sites")
    return parts


def _has_training(own: Mapping[str, Product]) -> bool:
    return any(product.train for product in own.values())


def _site(number: int) -> str:
    return f"site-{number}"


def _rng(seed: int, name: str, draw: int = 0) -> np.random.Generator:
    """Generator of one product: adding a product leaves the shuffles of the others alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), draw])
