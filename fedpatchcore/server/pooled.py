"""One bank from all sites' images in one place, for comparison: figures, thresholds, verdicts.

Only possible where one process sees every site's images, that is in simulation. The threshold is
set as ``fit`` sets one on the pooled folder: by folds each image is scored by a bank of as many
rows without its fold, else the held-out images of all sites by the bank itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fedpatchcore.bank.section import SHARED
from fedpatchcore.coreset.greedy import selector
from fedpatchcore.data.products import Product
from fedpatchcore.detection.folds import fold_numbers, out_of_fold
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.maps import FeatureMaps
from fedpatchcore.features.tally import Tally
from fedpatchcore.site.grouping import Grouping
from fedpatchcore.site.measuring import (
    Scored,
    called,
    decisions,
    measure,
    score_images,
    truth_masks,
)
from fedpatchcore.site.normals import Normals
from fedpatchcore.site.site import Site

__all__ = ["pooled_baseline"]

Say = Callable[[str], None]
LINES = 10  # of progress, at most, however many folds


def pooled_baseline(
    sites: Sequence[Site],
    rows: Mapping[str, int] | None = None,
    *,
    withheld: bool = False,
    say: Say = lambda line: None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """What one bank from all images in one place would reach: ``{site: {product: figures}}``.

    It learns from exactly the images the sites' coresets came from (nothing held out
    enters), has the global bank's size, and is tested on each site's own test images. Figures
    have the names of `fedpatchcore.wire.messages.ProductResult`; ``rows`` are the bank's.

    Args:
        rows: of the federated bank, by section. Where it has fewer, figures that begin with
            ``equal_`` are those of the first so many rows of the pooled bank, at a threshold
            of their own.
        withheld: no thresholds nor verdicts: sites keep theirs.
        say: progress, a line a fold (of many folds fewer).
    """
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for section in sorted({name for site in sites for name in site.sections()}):
        pool = _Pool(sites, section, (rows or {}).get(section), calibrated=not withheld, say=say)
        for site in sites:
            for name, product in site.products.items():
                if product.test and section in (name, SHARED):
                    results.setdefault(site.name, {})[name] = pool.tested(site, product)
    return results


class _Pool:
    """One section of the pooled bank, and what normal images say of it.

    Args:
        few: rows of the federated one, if known.
        calibrated: whether normal images are scored.
    """

    def __init__(
        self, sites: Sequence[Site], section: str, few: int | None, *, calibrated: bool, say: Say
    ) -> None:
        self.sites = [site for site in sites if section in site.sections()]
        self.section, self.config, self.say = section, sites[0].config, say
        self.extractor, self.few = sites[0].extractor, few
        if self.extractor.backbone.geometry.tiled:
            raise ConfigError("geometry='tiles': patches of all sites' images take too much memory")
        split = [site.training_images(section) for site in self.sites]
        used = tuple(path for one in split for path in one.used)
        held = tuple(path for one in split for path in one.held_out)
        keys = {
            path: key
            for one in split
            for paths, own in ((one.used, one.keys), (one.held_out, one.held_keys))
            for path, key in zip(paths, own, strict=True)
        }
        features, kept, _ = self.extractor.all(used)
        bank = self._bank(features.rows)
        self.rows = len(bank)
        self.scorers = self._scorers(bank)
        self.normals: Normals | None = None
        if calibrated:
            groups = self._groups(keys)
            if self.config.by_folds:
                paths = tuple(used[at] for at in kept)
                self.normals = self._by_folds(features, paths, keys, groups)
            elif held:
                scored = score_images(self.extractor, held, self.scorers, Tally())
                paths = next(iter(scored.values())).images
                self.normals = Normals(scored, tuple(groups[path] for path in paths), 0)

    def tested(self, site: Site, product: Product) -> dict[str, Any]:
        """Figures of one site's test images."""
        scored = score_images(site.extractor, product.test, self.scorers, Tally())
        whole, equal = scored["pooled"], scored.get("equal")
        geometry = site.backbone.geometry
        masks = truth_masks(site.extractor, whole.images, whole.grids)
        found = {"rows": self.rows, **measure(whole, masks, geometry)}
        if equal is not None:
            found["equal_image_auroc"] = measure(equal, None, geometry)["image_auroc"]
        limits = self._thresholds(product.name)
        if "pooled" in limits:
            limit, promise = limits["pooled"]
            found |= {"threshold": limit, **promise.as_result(), **decisions(whole, limit)}
        if "equal" in limits:
            limit, _ = limits["equal"]
            found |= {"equal_threshold": limit, **called(equal, limit, "equal_")}
        return found

    def _thresholds(self, product: str) -> dict[str, tuple]:
        """By bank the product's threshold, from images of all sites, and its promise."""
        if self.normals is None:
            return {}
        own = [site.products[product] for site in self.sites if product in site.products]
        mine = self.normals.of([path for one in own for path in one.train])
        found = {name: mine.threshold(name, self.config.target_fpr) for name in self.scorers}
        return {n: (one.value, one.promise(mine.folds)) for n, one in found.items() if one.images}

    def _bank(self, patches: np.ndarray) -> np.ndarray:
        config, device = self.config, str(self.extractor.backbone.device)
        choose = selector(config.coreset)
        chosen = choose(patches, config.global_bank_size, seed=config.seed, device=device)
        return patches[chosen.indices]

    def _scorers(self, bank: np.ndarray) -> dict[str, Scorer]:
        """By this bank, and by as many of its first rows as the federated one has."""
        how = {**self.config.own_scoring, "device": self.extractor.backbone.device}
        found = {"pooled": Scorer(bank, **how)}
        if self.few is not None and self.few < self.rows:
            found["equal"] = Scorer(bank[: self.few], **how)
        return found

    def _by_folds(
        self,
        features: FeatureMaps,
        paths: tuple[Path, ...],
        keys: Mapping[Path, str],
        groups: Mapping[Path, int],
    ) -> Normals | None:
        """Each image by a bank without its fold; None if all belong together."""
        labels = tuple(groups[path] for path in paths)
        numbers = fold_numbers(
            [keys[path] for path in paths],
            self.config.folds,
            seed=self.config.seed,
            groups=labels,
        )
        if not numbers.any():
            return None
        found = out_of_fold(
            features,
            numbers,
            lambda patches, _: self._scorers(self._bank(patches)),
            progress=self._progress,
        )
        scored = {name: Scored.of(paths, one) for name, one in found.items()}
        return Normals(scored, labels, int(numbers.max()) + 1)

    def _progress(self, done: int, of: int) -> None:
        if done % -(-of // LINES) == 0 or done == of:
            self.say(f"{self.section}, fold {done} of {of}")

    def _groups(self, keys: Mapping[Path, str]) -> dict[Path, int]:
        """What belongs together at a site, or as images of one folder."""
        named = {path: label for site in self.sites for path, label in site.grouping.named.items()}
        products = [p for site in self.sites for p in site.sections()[self.section]]
        grouping = Grouping(self.config, named, cache=self.sites[0].cache)
        pooled = grouping.labels(self.section, products, keys)
        at_sites = {p: site.group(p) for site in self.sites for p in self._paths(site)}
        return dict(zip(keys, _joined([at_sites[path] for path in keys], pooled), strict=True))

    def _paths(self, site: Site) -> tuple[Path, ...]:
        images = site.training_images(self.section)
        return (*images.used, *images.held_out)


def _joined(*labels: Sequence[str]) -> list[int]:
    """Groups of n images such that what shares a label in any of the lists shares a group."""
    n = len(labels[0])
    ends, count = [], n
    for one in labels:
        numbers = np.unique(one, return_inverse=True)[1]
        ends.append(numbers + count)
        count += int(numbers.max()) + 1
    images = np.tile(np.arange(n), len(labels))
    links = coo_array((np.ones(len(images)), (images, np.concatenate(ends))), shape=(count, count))
    return connected_components(links, directed=False)[1][:n].tolist()
