"""The checks of a site's images: the folder's layout, and whether samples of it can be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.exclude import excluded, without
from fedpatchcore.data.group_by import BY_FOLDER
from fedpatchcore.data.groups import named_groups
from fedpatchcore.data.images import load_image
from fedpatchcore.data.layouts.discovery import discover, overlooked
from fedpatchcore.data.products import Product
from fedpatchcore.data.value_range import parse_range
from fedpatchcore.deploy.doctor.checks import Check, Skip, fail, ok, warn
from fedpatchcore.errors import ImageError
from fedpatchcore.spelling import typed
from fedpatchcore.texts import counted

__all__ = ["DataChecks"]

SAMPLED, MOST_SAMPLED = 6, 48
SHOWN_PRODUCTS = 6


class DataChecks:
    """The data folder that a node names.

    Attributes:
        products: what the folder holds, once `folder` has looked.
    """

    def __init__(self, config: RunConfig, node: NodeConfig) -> None:
        self.config = config
        self.node = node
        self.products: Mapping[str, Product] = {}

    def folder(self) -> Check:
        """The folder is laid out as it should be, and holds good training images."""
        if not (data := self.node.data):
            return fail(
                "no data folder is named",
                f"{typed('data', 'FOLDER', own=True)}, or set FEDPATCHCORE_DATA",
            )
        folder = Path(data).expanduser()
        found = discover(
            folder,
            self.node.layout or self.config.layout,
            self.config.product_names(),
            deep=(self.node.group_by or self.config.group_by) == BY_FOLDER,
        )
        if self.node.groups:
            named_groups(Path(self.node.groups).expanduser(), folder)
        if self.node.exclude:
            listing = Path(self.node.exclude).expanduser()
            found, _ = without(found, excluded(listing, folder), listing)
        self.products = found
        counts = [f"{n}: {len(p.train)} train, {len(p.test)} test" for n, p in found.items()]
        told = f"{data}: {'; '.join(counts[:SHOWN_PRODUCTS])}"
        if len(counts) > SHOWN_PRODUCTS:
            images = sum(len(p.train) + len(p.test) for p in found.values())
            told += f"; ... {len(counts)} products, {counted(images, 'image')} in all"
        empty = [name for name, product in found.items() if not product.train]
        fix = "put pictures of good parts into <product>/train/good/"
        if len(empty) == len(found):
            return fail(f"{told}: no training images of good parts in any product", fix)
        if empty:
            return warn(f"{told}: no good training images of {', '.join(empty)}", fix)
        if left := overlooked(found.values()):
            return warn(f"{told}; {left}", "fedpatchcore data check has more")
        return ok(told)

    def images(self) -> Check:
        """A sample of the images can be read."""
        if not self.products:
            raise Skip("no products were found")
        sample: list[Path] = []
        for product in self.products.values():
            for paths in (product.train, tuple(image.path for image in product.test)):
                step = max(1, len(paths) // SAMPLED)
                sample += paths[::step][:SAMPLED]
        sample = sample[:: max(1, -(-len(sample) // MOST_SAMPLED))]
        bad = []
        for path in sample:
            try:
                load_image(path, parse_range(self.config.value_range))
            except ImageError as error:
                bad.append((path, str(error).removeprefix(f"{path}: ")))
        if not bad:
            return ok(f"{len(sample)} of them opened, all are readable")
        first, reason = bad[0]
        told = f"{len(bad)} of {len(sample)} opened cannot be read, first {first}: {reason}"
        fix = f"save it again as PNG or JPEG, or remove it ({first}); check its permissions"
        if len(bad) > self.config.max_bad_images * len(sample):
            limit = f"{100 * self.config.max_bad_images:g} %"
            return fail(f"{told}; a site with more than {limit} such images takes no part", fix)
        return warn(f"{told}; such images are skipped", fix)
