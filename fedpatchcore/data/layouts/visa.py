"""VisA's table of images: ``1cls.csv`` with columns object, split, label, image, mask.

Paper: Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and
Segmentation", ECCV 2022. Paths are relative to the data set's root.
"""

from collections import defaultdict
from pathlib import Path

from fedpatchcore.data.products import GOOD, Product, TestImage
from fedpatchcore.data.tables import read_rows, resolve_inside
from fedpatchcore.errors import DataError

__all__ = ["fits", "read"]

_COLUMNS = ("object", "split", "label", "image", "mask")
_NORMAL = frozenset({"normal", "good"})


def fits(root: Path) -> bool:
    """Whether there is a table."""
    return _table(root) is not None


def _table(root: Path) -> Path | None:
    """The table of a VisA root, None if there is none."""
    for path in (root / "split_csv" / "1cls.csv", root / "1cls.csv"):
        if path.is_file():
            return path
    return None


def read(root: Path, deep: bool = False) -> dict[str, Product]:
    """Read the table → products by name; label "normal" becomes "good". It names every image.

    Raises:
        DataError: no table, missing columns, or, with its line number: an unknown split, an
            anomalous training image, a file that does not exist, lies outside the root or is
            named twice.
    """
    table = _table(root)
    if table is None:
        raise DataError(f"{root}: no split_csv/1cls.csv or 1cls.csv; is it a VisA folder?")
    train: dict[str, list[Path]] = defaultdict(list)
    test: dict[str, list[TestImage]] = defaultdict(list)
    seen: set[Path] = set()
    for line, row in read_rows(table, _COLUMNS):
        where = f"{table}, line {line}"
        name, split = row["object"], row["split"].lower()
        label = GOOD if row["label"].lower() in _NORMAL else row["label"]
        if not name or not label:
            raise DataError(f"{where}: object and label must not be empty")
        path = resolve_inside(root, row["image"], where)
        if path in seen:
            raise DataError(f"{where}: {row['image']} is named twice; remove one line")
        seen.add(path)
        if split == "test":
            masked = label != GOOD and row["mask"]
            masks = (resolve_inside(root, row["mask"], where),) if masked else ()
            test[name].append(TestImage(path, label, masks))
        elif split == "train" and label == GOOD:
            train[name].append(path)
        elif split == "train":
            raise DataError(f"{where}: a training image is labelled {label!r}; train on good only")
        else:
            raise DataError(f"{where}: split must be train or test, got {row['split']!r}")
    return {
        name: Product(
            name,
            tuple(sorted(train[name])),
            tuple(sorted(test[name], key=lambda item: item.path)),
            root / name if (root / name).is_dir() else root,
        )
        for name in sorted({*train, *test})
    }
