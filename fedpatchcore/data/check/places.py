"""Where a product's further pictures belong, by the tree that it stands in."""

from __future__ import annotations

from fedpatchcore.data.products import GOOD, Product

__all__ = ["for_test", "for_training"]

TABLES = ("list.csv", "split_csv/1cls.csv", "1cls.csv")
TREES = (  # a folder that tells the tree, where it learns from, where its good test images are
    ("normal", "normal", "normal_test"),
    ("test_public", f"train/{GOOD}", f"test_public/{GOOD}"),
    (".", f"train/{GOOD}", f"test/{GOOD}"),
)


def for_training(product: Product) -> str:
    """Where images to learn from are put."""
    return _table(product, "train") or f"{product.name}/{_tree(product)[1]}"


def for_test(product: Product) -> str:
    """Where good test images are put."""
    return _table(product, "test") or _tree(product)[2]


def _table(product: Product, split: str) -> str:
    tables = (top / name for top in (product.root, product.root.parent) for name in TABLES)
    table = next((table for table in tables if table.is_file()), None)
    return f"{table.name}, as split {split}" if table else ""


def _tree(product: Product) -> tuple[str, str, str]:
    return next(one for one in TREES if (product.root / one[0]).is_dir())
