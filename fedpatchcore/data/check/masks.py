"""Masks of defects: missing, empty, of another size, without image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fedpatchcore.data.check.findings import NOTE, WARNING, Finding
from fedpatchcore.data.check.looks import Look, Looked
from fedpatchcore.data.images import list_images, load_mask
from fedpatchcore.data.products import TestImage
from fedpatchcore.errors import ImageError

__all__ = ["masks"]


def masks(looked: Looked) -> Iterator[Finding]:
    """Each kind of fault of the masks of a product's defective test images."""
    name = looked.product.name
    defective = [(item, one) for item, one in looked.test if item.anomalous and not one.problem]
    without = [item.path for item, _ in defective if not item.masks]
    if defective and len(without) == len(defective):
        text = f"none of {len(defective)} defective test images has a mask: no figures of places"
        yield Finding("masks", NOTE, name, text)
    elif without:
        yield Finding(
            "masks",
            WARNING,
            name,
            f"{len(without)} of {len(defective)} defective test images have no mask: they count in "
            "no figure of places",
            f"draw them, named as those of the others: {_named(defective)}",
            without,
        )
    yield from _contents(looked)
    if orphans := _orphans(looked):
        text = f"{len(orphans)} mask{'s' * (len(orphans) > 1)} of no image"
        fix = "name them <image stem>_mask.png, or remove them"
        yield Finding("masks", WARNING, name, text, fix, orphans)


def _named(defective: list[tuple[TestImage, Look]]) -> str:
    """``test/dent/3.png has ground_truth/dent/3_mask.png``: a mask that is there, and its image."""
    image, mask = next((one.path, one.masks[0]) for one, _ in defective if one.masks)
    common = Path(os.path.commonpath([image, mask]))
    own, drawn = (path.relative_to(common).as_posix() for path in (image, mask))
    return f"{own} has {drawn}"


def _contents(looked: Looked) -> Iterator[Finding]:
    empty, full, other, bad = [], [], [], []
    for item, one in looked.test:
        for path in item.masks if not one.problem else ():
            try:
                mask = load_mask(path)
            except ImageError:
                bad.append(path)
                continue
            if not mask.any():
                empty.append(path)
            elif mask.mean() > 0.9:
                full.append(path)
            if mask.shape[::-1] != one.size:
                other.append(path)
    for found, text, fix in (
        (bad, "not readable", "save them again as 8-bit PNG"),
        (empty, "without any mark", "draw the defect, or move the image to test/good"),
        (full, "over nine tenths of the picture or more", "turn them over: 0 is good, 255 defect"),
        (other, "of another size than their image", "export them at the image's size, upright"),
    ):
        if found:
            count = f"{len(found)} mask{'s' * (len(found) > 1)}"
            yield Finding("masks", WARNING, looked.product.name, f"{count} {text}", fix, found)


def _orphans(looked: Looked) -> list[Path]:
    """Masks in the folders of the masks that are used which belong to no image."""
    used = {path for item, _ in looked.test for path in item.masks}
    stems = {item.path.stem for item, _ in looked.test}
    found = []
    for name in ("ground_truth", "test_public/ground_truth", "mask"):
        truth = looked.product.root / name
        for path in list_images(truth, recursive=True) if truth.is_dir() else ():
            named = {path.stem, path.stem.removesuffix("_mask"), path.parent.name}
            if path not in used and not named & stems:
                found.append(path)
    return found
