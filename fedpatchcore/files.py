"""Files of arrays with a JSON header: safetensors underneath, written all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedpatchcore.errors import FedPatchCoreError

__all__ = ["read_arrays", "read_header", "sync", "to_bytes", "write_atomically"]

KEY = "fedpatchcore"
STAMPED = re.compile(r'(.*?),?"sha256":"([0-9a-f]{64})"\}', re.DOTALL)
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


def sync(path: Path) -> None:
    """Wait until the disk has this file, or the names in this folder."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def to_bytes(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> bytes:
    """A safetensors file whose only metadata entry is the header as canonical JSON.

    The header's last field, ``sha256``, is over the rest of the header and all arrays.
    """
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    comma = "," if header else ""
    return save(arrays, metadata={KEY: f'{text[:-1]}{comma}"sha256":"{_checksum(text, arrays)}"}}'})


def _checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    told = hashlib.sha256(text.encode())
    for key in sorted(arrays):
        one = arrays[key]
        told.update(f"\n{key} {one.dtype.str} {one.shape}\n".encode())
        told.update(one.reshape(-1).view(np.uint8).data)
    return told.hexdigest()


def read_arrays(
    path: Path, *, kind: str, error: type[FedPatchCoreError]
) -> tuple[str, dict[str, np.ndarray]]:
    """JSON header and arrays of a file of this ``kind`` ("bank", "coreset").

    Raises ``error`` when the file is missing, cut short, foreign, or not what was written.
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
    stamped = STAMPED.fullmatch(text)
    text = f"{stamped[1]}}}" if stamped else text
    if not stamped or stamped[2] != _checksum(text, arrays):
        raise error(
            f"{kind} file {path} is damaged: its content does not match its SHA-256; take it from "
            "a backup or make it again"
        )
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
