"""The groups that a fit or a site would set aside together."""

from __future__ import annotations

from fedpatchcore.data.check.findings import FAULT, NOTE, Finding
from fedpatchcore.data.group_by import AUTOMATIC
from fedpatchcore.data.groups import group_images
from fedpatchcore.data.products import Product
from fedpatchcore.errors import DataError

__all__ = ["groups_used"]


def groups_used(product: Product, group_by: str) -> list[Finding]:
    """What ``group-by`` makes of the training images; near-identical ones have their own check."""
    if group_by in ("", AUTOMATIC) or not product.train:
        return []
    try:
        groups = group_images(product.train, roots=[product.training_folder], group_by=group_by)
    except DataError as error:
        return [Finding("groups", FAULT, product.name, str(error))]
    return [Finding("groups", NOTE, product.name, groups.how or "every image by itself")]
