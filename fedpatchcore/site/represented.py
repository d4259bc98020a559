"""Which images a site's replies have represented, remembered from one process to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fedpatchcore.features.cache import SiteCache

__all__ = ["Represented"]


class Represented:
    """Content hashes of the images behind what a site has sent, by section.

    Args:
        site: the site's name.
        extractor: digest of the feature extractor; another one starts anew.
        cache: where they are kept; None forgets them with the process.
    """

    def __init__(self, site: str, extractor: str, cache: SiteCache | None) -> None:
        self.site = site
        self.extractor = extractor
        self.cache = cache
        self.known: dict[str, set[str]] = {}

    def key(self, section: str) -> str:
        """Name of a section's entry in the cache."""
        recipe = ("represented", self.extractor, self.site, section)
        return hashlib.sha256(repr(recipe).encode()).hexdigest()

    def recall(self, section: str) -> set[str]:
        """Content hashes of images that earlier replies represented."""
        if section not in self.known and self.cache:
            entry = self.cache.get(self.key(section))
            self.known[section] = set(entry[0]["images"]) if entry else set()
        return self.known.get(section, set())

    def remember(self, section: str, keys: Sequence[str], *, replace_all: bool) -> int:
        """Note images as represented, beside or instead of the former; how many there are now."""
        known = set(keys) | (set() if replace_all else self.recall(section))
        self.known[section] = known
        if self.cache:
            self.cache.put(self.key(section), {}, {"images": sorted(known)})
        return len(known)
