"""Which plant makes which product, and every picture to take of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpatchcore.data.sample.camera import Condition
from fedpatchcore.data.sample.scenes import DEFECTS, PRODUCTS

__all__ = ["SITES", "Shot", "products_of_site", "shots_of", "site_names"]

SITES: tuple[str, ...] = ("plant-a", "plant-b", "plant-c", "plant-d", "plant-e")
_FOREIGN_EVERY = 5  # every fifth test image shows another plant's condition
_TRAIN, _TEST_GOOD, _TEST_DEFECTIVE = range(3)  # split numbers in the random keys


@dataclass(frozen=True)
class Shot:
    """One picture to take and where it goes, relative to the root."""

    product: str
    condition: Condition
    key: tuple[int, ...]
    defect: str | None
    image: Path
    mask: Path | None


def site_names(count: int) -> tuple[str, ...]:
    """``plant-a`` ... ``plant-z``, ``plant-aa`` ... for ``count`` sites."""
    letters = [chr(ord("a") + i) for i in range(26)]
    letters += ["a" + letter for letter in letters]
    return tuple(f"plant-{letter}" for letter in letters[:count])


def products_of_site(site: int, products: Sequence[str] = PRODUCTS) -> tuple[str, ...]:
    """Products the site with this number makes: three of four sites lack one product.

    With fewer than three products every site makes all of them.
    """
    lacking = site % 4 - 1
    if len(products) < 3 or lacking < 0:
        return tuple(products)
    return tuple(p for i, p in enumerate(products) if i != lacking)


def shots_of(seed, sites, train, test_good, test_defective, products) -> Iterator[Shot]:
    """Every picture of the sample, in writing order."""
    names = site_names(sites)
    for site, name in enumerate(names):
        for product in products_of_site(site, products):
            peers = [
                other
                for other in range(sites)
                if other != site and product in products_of_site(other, products)
            ]
            folder = Path(name) / product
            number = PRODUCTS.index(product)
            for split, count in (
                (_TRAIN, train),
                (_TEST_GOOD, test_good),
                (_TEST_DEFECTIVE, test_defective),
            ):
                for index in range(count):
                    shown = site
                    if split != _TRAIN and peers and index % _FOREIGN_EVERY == 1:
                        shown = peers[(index // _FOREIGN_EVERY + site) % len(peers)]
                    defect, mask, stem = None, None, f"{index:03d}"
                    image = folder / ("train" if split == _TRAIN else "test") / "good"
                    if split == _TEST_DEFECTIVE:
                        kinds = DEFECTS[product]
                        defect, stem = kinds[index % len(kinds)], f"{index // len(kinds):03d}"
                        image = folder / "test" / defect
                        mask = folder / "ground_truth" / defect / f"{stem}_mask.png"
                    key = (seed, site, number, split, index)
                    condition = Condition.of_site(shown)
                    yield Shot(product, condition, key, defect, image / f"{stem}.png", mask)
