"""Which of a site's training images belong together, found once and kept in the site's cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fedpatchcore.config import RunConfig
from fedpatchcore.data.check.looks import Looks
from fedpatchcore.data.group_by import AUTOMATIC, SINGLE
from fedpatchcore.data.groups import Groups, group_images
from fedpatchcore.data.products import Product
from fedpatchcore.data.value_range import canonical, parse_range
from fedpatchcore.features.cache import SiteCache

__all__ = ["Grouping"]

RECIPE = 2  # raised whenever other images are found near-identical


class Grouping:
    """Groups of a section's images, as labels for the hold-out.

    Near-identical images are searched for once: labels are kept under the hashes of all images'
    contents, so that only a new set of images is decoded for it.

    Args:
        named: groups that a table names, which go before ``group-by``.
        cache: where labels are kept; None: nowhere.
        looks: what may have been seen of the images already, by the run's range of values.
    """

    def __init__(
        self,
        config: RunConfig,
        named: Mapping[Path, str],
        *,
        cache: SiteCache | None = None,
        looks: Looks | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.config = config
        self.named = named
        self.cache = cache
        self.looks = looks or Looks(parse_range(config.value_range))
        self.say = say

    def labels(
        self, section: str, products: Sequence[Product], keys: Mapping[Path, str]
    ) -> list[str]:
        """A label for each image of ``keys`` (path → content hash), in its order.

        An image by itself is labelled by its content, so that copies of a file stay together. Of
        a private run no images are compared with each other: copies of a file alone stay together.

        Raises:
            DataError: as `group_images`.
        """
        automatic = self.config.group_by in ("", AUTOMATIC)
        private = self.config.dp != "off"
        known = not self.named and automatic and self._known(keys)
        if known:
            found = Groups({}, known["how"], frozenset())
            labels = known["labels"]
            given = {path: labels.get(key, key) for path, key in keys.items()}
        else:
            found = group_images(
                keys,
                roots=[product.training_folder for product in products],
                group_by=SINGLE if private and automatic else self.config.group_by,
                named=self.named,
                small=self.looks.small,
            )
            given = {p: key if p in found.alone else found.of[p] for p, key in keys.items()}
            if automatic and not self.named and self.cache:
                told = {keys[path]: label for path, label in given.items()}
                self.cache.put(self._entry(keys), {}, {"how": found.how, "labels": told})
        if found.how:
            self.say(f"{section}: {found.how}")
        return list(given.values())

    def _known(self, keys: Mapping[Path, str]) -> dict | None:
        entry = self.cache.get(self._entry(keys)) if self.cache else None
        return entry[0] if entry else None

    def _entry(self, keys: Mapping[Path, str]) -> str:
        private = self.config.dp != "off"
        recipe = (
            "groups",
            RECIPE,
            private,
            canonical(self.config.value_range),
            sorted(keys.values()),
        )
        return hashlib.sha256(repr(recipe).encode()).hexdigest()
