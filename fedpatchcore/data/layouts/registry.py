"""The layouts there are, in the order in which "auto" tries them; loaded when they are used.

A further layout is a module with ``fits(root)`` and ``read(root, deep)`` and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedpatchcore.data.products import Product

__all__ = ["AUTO", "LAYOUTS", "Layout"]

AUTO = "auto"


@dataclass(frozen=True)
class Layout:
    """The module ``name`` in this folder.

    Attributes:
        expects: what it looks for, in few words.
        above: layouts that fit whatever fits this one, and are not meant then.
    """

    name: str
    expects: str
    above: tuple[str, ...] = ()

    def fits(self, root: Path) -> bool:
        """Whether a folder looks like this layout; opens no image."""
        return self._module.fits(root)

    def read(self, root: Path, deep: bool = False) -> dict[str, Product]:
        """Products by name; `deep`: training images in sub-folders too.

        Raises:
            DataError: the folder is not of this layout.
        """
        return self._module.read(root, deep)

    @property
    def _module(self) -> Any:
        return import_module(f"fedpatchcore.data.layouts.{self.name}")


LAYOUTS: Mapping[str, Layout] = {
    one.name: one
    for one in (
        Layout("visa", "split_csv/1cls.csv"),
        Layout("list", "list.csv with columns file,split,label"),
        Layout("mvtec_ad2", "<product>/train/good/* with <product>/test_public/<label>/*"),
        Layout("autovi", "<product>/train/good/* and masks in a folder an image", ("mvtec",)),
        Layout("mvtec", "<product>/train/good/* with <product>/test/<label>/*"),
        Layout("anomalib", "normal/*, abnormal/*, mask/*"),
        Layout("plain", "folders of good images"),
    )
}
