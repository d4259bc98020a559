"""What a layout yields: products with training images and labelled test images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fedpatchcore.data.saturation import Saturation

__all__ = ["GOOD", "Product", "TestImage"]

GOOD = "good"
"""Label of a test image without defect."""


@dataclass(frozen=True)
class TestImage:
    """A labelled test image.

    Attributes:
        path: image file.
        label: "good" or the name of the defect.
        masks: mask files, their union is the defect; empty if good or not annotated.
    """

    __test__: ClassVar[bool] = False  # not a test case, whatever its name

    path: Path
    label: str
    masks: tuple[Path, ...] = ()

    @property
    def anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.label != GOOD


@dataclass(frozen=True)
class Product:
    """The images of one kind of product at one site.

    Attributes:
        name: name of the product, equal at all sites that share it.
        train: images of good parts; may be empty.
        test: labelled images; may be empty.
        root: folder of the product.
        saturation: sPRO rules by defect name (AutoVI, MVTec LOCO), else empty.
    """

    name: str
    train: tuple[Path, ...]
    test: tuple[TestImage, ...]
    root: Path
    saturation: Mapping[str, Saturation] = field(default_factory=dict)

    @property
    def training_folder(self) -> Path:
        """Where its training images are kept: train/good, normal, or the product's folder."""
        own = (self.root / "train" / GOOD, self.root / "normal")
        return next((folder for folder in own if folder.is_dir()), self.root)
