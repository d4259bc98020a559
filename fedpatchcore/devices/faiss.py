"""FAISS, which is needed for some things and not for others."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

from fedpatchcore.errors import ConfigError

__all__ = ["faiss_for", "faiss_if_there", "gpus_of_faiss"]


@lru_cache
def faiss_if_there() -> ModuleType | None:
    """The library, or None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def faiss_for(what: str) -> ModuleType:
    """The library. Raises ConfigError, naming ``what`` needs it, where it is not installed."""
    found = faiss_if_there()
    if found is None:
        raise ConfigError(f"{what} needs FAISS, which is not installed: pip install faiss-cpu")
    return found


def gpus_of_faiss() -> int:
    """GPUs that FAISS sees: none with a build for CPUs."""
    found = faiss_if_there()
    return found.get_num_gpus() if found is not None and hasattr(found, "get_num_gpus") else 0
