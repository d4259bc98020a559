"""Files of arrays with a JSON header: safetensors underneath, written all or nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedpatchcore.errors import FedPatchCoreError

__all__ = ["read_arrays", "read_header", "to_bytes", "write_atomically"]

KEY = "fedpatchcore"
Header = TypeVar("Header", bound=BaseModel)


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write beside ``path``, rename over it: the old file or the new, whole.

    ``durable`` waits until the disk has it, which survives a power cut; what can be computed
    again need not wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def to_bytes(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> bytes:
    """A safetensors file whose only metadata entry is the header as canonical JSON."""
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    return save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, metadata={KEY: text})


def read_arrays(
    path: Path, *, kind: str, error: type[FedPatchCoreError]
) -> tuple[str, dict[str, np.ndarray]]:
    """JSON header and arrays of a file of this ``kind`` ("bank", "coreset").

    Raises ``error`` when the file is missing, cut short or foreign.
    """
    if not path.is_file():
        raise error(f"{kind} file {path} does not exist")
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as reason:
        raise error(f"{kind} file {path} is cut short or damaged: {reason}") from None
    if text is None:
        raise error(f"{path} is a safetensors file but no {kind} of this system")
    return text, arrays


def read_header(
    text: str, header: type[Header], *, where: str, error: type[FedPatchCoreError]
) -> Header:
    """The JSON text as a validated ``header``; raises ``error`` naming the first bad field."""
    try:
        return header.model_validate_json(text)
    except ValidationError as reason:
        first = reason.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise error(f"{where} has a damaged header ({place}: {first['msg']})") from None
