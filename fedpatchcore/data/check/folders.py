"""What is in the folders: enough good images, good ones in the test, no defects among them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fedpatchcore.data.check.findings import FAULT, NOTE, WARNING, Finding, images
from fedpatchcore.data.check.looks import Looked
from fedpatchcore.data.check.places import for_test, for_training
from fedpatchcore.data.images import list_images
from fedpatchcore.data.layouts.discovery import unused
from fedpatchcore.data.layouts.folders import BAD_NAMES, folders
from fedpatchcore.data.products import GOOD

__all__ = ["enough", "misplaced", "names", "test_images"]

FEW = 20  # of these one in twenty, the default of false alarms, can be seen at all


def enough(looked: Looked) -> Iterator[Finding]:
    """Training images, and how many."""
    name, count = looked.product.name, sum(not one.problem for one in looked.train)
    if not looked.train:
        fix = f"put pictures of good parts into {for_training(looked.product)}"
        yield Finding("few", FAULT, name, "no training images of good parts", fix)
    elif not count:  # why is told by another check
        text = "none of the training images of good parts can be used"
        yield Finding("few", FAULT, name, text, "mend them: other lines say how")
    elif count < FEW:
        text = f"{images(count)} of good parts to learn from"
        fix = f"collect {FEW} or more: a threshold rests on them"
        yield Finding("few", WARNING, name, text, fix)


def test_images(looked: Looked) -> Iterator[Finding]:
    """Both kinds of test images are there, if any are."""
    kinds = {item.anomalous for item, _ in looked.test}
    if kinds == {True}:
        yield Finding(
            "test",
            WARNING,
            looked.product.name,
            "no good images in the test: false alarms cannot be counted",
            f"put pictures of good parts that are not learnt from into {for_test(looked.product)}",
        )
    elif kinds != {True, False}:
        what = "no defective images in the test" if kinds else "no test images"
        yield Finding("test", NOTE, looked.product.name, f"{what}: nothing tells what is missed")


def misplaced(looked: Looked) -> Iterator[Finding]:
    """Folders beside the folder of good training images, which nothing reads."""
    train = looked.product.root / "train"
    beside = [p for p in folders(train) if p.name != GOOD] if train.is_dir() else []
    beside = [path for path in beside if list_images(path, recursive=True)]
    if beside:
        yield Finding(
            "folders",
            WARNING,
            looked.product.name,
            f"folders beside train/{GOOD} are not used: {', '.join(p.name for p in beside)}",
            "move pictures of defects to test/<defect>",
            beside,
        )
    for text, fix in unused([looked.product]):
        yield Finding("folders", WARNING, looked.product.name, text, fix)


def names(looked: Looked) -> Iterator[Finding]:
    """Training images whose names tell of a defect."""
    bad = [
        path
        for path in looked.product.train
        if BAD_NAMES & set(re.split(r"[^a-z]+", path.stem.lower()))
    ]
    if bad:
        yield Finding(
            "names",
            WARNING,
            looked.product.name,
            f"{images(len(bad))} among the good ones with names of defects",
            "look at them, and move defects to test/<defect>",
            bad,
        )
