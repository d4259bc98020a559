"""A line that the demo makes: parts fall into the station's folder one by one, some defective."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from fedpatchcore.data.products import Product
from fedpatchcore.station.station import Station

__all__ = ["Line", "training_copy"]

DEFECTIVE = 0.25
LONGEST = 120.0  # seconds
FIRST = 24  # parts that lie there already when people come


class Line:
    """Parts from a seed: always the same ones in the same order.

    Args:
        products: of one site, with test images; each part is a copy of one of these.
        folder: watched by the station; a sub-folder a product.
    """

    def __init__(self, products: Mapping[str, Product], folder: Path, seed: int = 0) -> None:
        self.folder, self.products = folder, products
        self.chance = random.Random(seed)
        self.count = sum(1 for _ in folder.rglob("part-*.png")) if folder.is_dir() else 0

    def drop(self) -> Path:
        """One more part → where it lies, whole."""
        product = self.products[self.chance.choice(sorted(self.products))]
        defective = self.chance.random() < DEFECTIVE
        image = self.chance.choice([one for one in product.test if one.anomalous is defective])
        self.count += 1
        place = self.folder / product.name / f"part-{self.count:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        shutil.copyfile(image.path, part)
        return part.replace(place)

    def run(self, station: Station, every: float) -> None:
        """Some at once, then one each so many seconds, until the station stops.

        It waits until the station knows its training images: then every stopped part says why.
        """
        stop, end = station.stop, time.monotonic() + LONGEST
        while not station.explainer.learnt(station.worker.bench) and time.monotonic() < end:
            if stop.wait(0.2):
                return
        for _ in range(FIRST):
            self.drop()
        while not stop.wait(every):
            self.drop()


def training_copy(products: Mapping[str, Product], folder: Path) -> None:
    """A site's good images, copied, so that teaching changes nothing elsewhere."""
    for name, product in products.items():
        good = folder / name / "train" / "good"
        if not good.is_dir():
            good.mkdir(parents=True)
            for image in product.train:
                shutil.copyfile(image, good / image.name)
