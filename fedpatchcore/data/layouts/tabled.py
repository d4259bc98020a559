"""Rows of a table that names images → products; two layouts share it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedpatchcore.data.products import GOOD, Product, TestImage
from fedpatchcore.data.tables import resolve_inside
from fedpatchcore.errors import DataError

__all__ = ["Row", "products_of"]

_NORMAL = frozenset({"normal", "good", "ok"})


@dataclass(frozen=True)
class Row:
    """One line: ``where`` it stands, for messages; files are relative to the root."""

    where: str
    product: str
    split: str
    label: str
    image: str
    masks: tuple[str, ...] = ()


def products_of(root: Path, rows: Iterable[Row]) -> dict[str, Product]:
    """Products by name; the labels "normal" and "ok" become "good".

    Raises:
        DataError: with its line: no product or label, an unknown split, an anomalous training
            image, a file that does not exist, lies outside the root or is named twice.
    """
    train: dict[str, list[Path]] = defaultdict(list)
    test: dict[str, list[TestImage]] = defaultdict(list)
    seen: set[Path] = set()
    for row in rows:
        name, split = row.product, row.split.lower()
        label = GOOD if row.label.lower() in _NORMAL else row.label
        if not name or not label:
            raise DataError(f"{row.where}: object and label must not be empty")
        path = resolve_inside(root, row.image, row.where)
        if path in seen:
            raise DataError(f"{row.where}: {row.image} is named twice; remove one line")
        seen.add(path)
        if split == "test":
            masks = row.masks if label != GOOD else ()
            found = tuple(resolve_inside(root, mask, row.where) for mask in masks)
            test[name].append(TestImage(path, label, found))
        elif split == "train" and label == GOOD:
            train[name].append(path)
        elif split == "train":
            raise DataError(
                f"{row.where}: a training image is labelled {label!r}; train on good only"
            )
        else:
            raise DataError(f"{row.where}: split must be train or test, got {row.split!r}")
    return {
        name: Product(
            name,
            tuple(sorted(train[name])),
            tuple(sorted(test[name], key=lambda item: item.path)),
            root / name if (root / name).is_dir() else root,
        )
        for name in sorted({*train, *test})
    }
