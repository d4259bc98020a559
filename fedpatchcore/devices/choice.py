"""From a word of the settings to devices that are there."""

from __future__ import annotations

import torch

from fedpatchcore.devices.names import DEVICES, check_device
from fedpatchcore.errors import ConfigError
from fedpatchcore.spelling import mended, typed

__all__ = ["every_device", "resolve_device"]


def every_device(name: str) -> tuple[torch.device, ...]:
    """The devices that a setting means; the first is the one where single things are done.

    ``auto`` is CUDA when torch sees a GPU, ``all`` is every GPU that torch sees.

    Raises:
        ConfigError: no such word, or a GPU that torch does not see.
    """
    try:
        check_device("device", name)
    except ValueError:
        raise ConfigError(
            mended(f"'{name}' is no device: one of {DEVICES}", typed("device", "auto"))
        ) from None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return (torch.device("cpu"),)
    if not count:
        raise ConfigError(
            mended(f"'{name}' is asked for but torch sees no GPU", typed("device", "auto"))
        )
    if name == "all":
        return tuple(torch.device("cuda", at) for at in range(count))
    number = int(name.partition(":")[2] or 0)
    if number >= count:
        seen = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ConfigError(
            mended(f"'{name}' is asked for but torch sees {seen} alone", typed("device", "cuda:0"))
        )
    return (torch.device(name if ":" in name else "cuda"),)


def resolve_device(name: str) -> torch.device:
    """The first of `every_device`."""
    return every_device(name)[0]
