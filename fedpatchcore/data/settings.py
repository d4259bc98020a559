"""Settings of a simulation's images; a real site names its folder in its node-config."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.data.layouts.registry import AUTO, LAYOUTS
from fedpatchcore.settings import Settings, listed, setting

__all__ = ["DataSettings"]


class DataSettings(Settings):
    """Which images a simulation works with, and how virtual sites share them."""

    title: ClassVar[str] = "Data of a simulation"

    data: str = setting("", "folder; empty: the built-in synthetic sample")
    layout: str = setting(AUTO, "of the folder; auto recognises it", words=(AUTO, *LAYOUTS))
    products: str = setting("", "comma-separated; empty: all that are found")
    partition: Literal["folders", "iid", "category", "dirichlet", "manifest"] = setting(
        "folders", "how virtual sites share the images; folders: one folder a site"
    )
    dirichlet_alpha: float = setting(
        0.5, "partition='dirichlet': the smaller, the less alike the sites", gt=0
    )
    manifest: str = setting("", "partition='manifest': csv with columns file,site[,group]")
    exclude: str = setting(
        "", "csv of training images that teach no virtual site, columns file,reason"
    )

    @model_validator(mode="after")
    def _manifest_given(self) -> Self:
        if self.partition == "manifest" and not self.manifest:
            raise ValueError("partition='manifest' needs manifest='<csv file>'")
        return self

    def product_names(self) -> tuple[str, ...]:
        """Products to use; empty means all that are found."""
        return listed(self.products)
