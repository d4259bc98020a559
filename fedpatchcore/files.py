"""Files of arrays with a JSON header: safetensors underneath, written all or nothing.

Large ones need no second copy in memory: `to_parts` gives the file as pieces of the arrays
themselves, and `open_arrays` leaves them on disk until rows are asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedpatchcore.errors import FedPatchCoreError, RunError

__all__ = [
    "StoredArray",
    "checksum",
    "duplicate",
    "for_owner_alone",
    "open_arrays",
    "own_folder",
    "private_folder",
    "read_arrays",
    "read_header",
    "sync",
    "to_bytes",
    "to_parts",
    "write_atomically",
]

KEY = "fedpatchcore"
STAMPED = re.compile(r'(.*?),?"sha256":"([0-9a-f]{64})"\}', re.DOTALL)
Header = TypeVar("Header", bound=BaseModel)
KINDS = {"<f4": "F32", "<i4": "I32"}  # as safetensors names them, in its order


@dataclass(frozen=True)
class StoredArray:
    """A float32 matrix ``[n, D]`` in a file, read when it is asked for."""

    path: Path
    offset: int
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return 4 * self.shape[0] * self.shape[1]

    def read(self, first: int | None = None) -> np.ndarray:
        """All rows, or the first so many. Raises RunError if the file is no longer whole."""
        rows = len(self) if first is None else min(first, len(self))
        count = rows * self.shape[1]
        try:
            found = np.fromfile(self.path, np.float32, count, offset=self.offset)
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror or error}") from None
        if len(found) != count:
            raise RunError(f"{self.path} was cut short while the run was using it")
        return found.reshape(rows, self.shape[1])


def write_atomically(
    path: Path, content: bytes | Sequence[bytes | memoryview], *, durable: bool = True
) -> None:
    """Write beside ``path``, rename over it: the old file or the new, whole.

    ``durable`` waits until the disk has it, which survives a power cut; what can be computed
    again need not wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            for piece in [content] if isinstance(content, bytes) else content:
                file.write(piece)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def for_owner_alone() -> Iterator[None]:
    """What is made inside, by this process and those it starts, others on this machine can't read.

    Folders 0700, files 0600 (umask(2), which belongs to the whole process).
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def own_folder(path: Path, *, error: type[FedPatchCoreError]) -> Path:
    """A folder to write scratch files to, made for its owner alone, or one that is just that.

    A name that others could have taken first is not used before its owner is looked at: raises
    ``error`` for a link, for what is no folder, and for one of another user.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        told = path.lstat()
    except OSError as reason:
        raise error(f"cannot make {path}: {reason.strerror}") from None
    if not stat.S_ISDIR(told.st_mode) or told.st_uid != os.geteuid():
        raise error(f"{path} is a link or another user's: name a folder of your own")
    path.chmod(0o700)
    return path


def private_folder(path: Path) -> None:
    """Make a folder for its owner alone, and wait until the disk has every folder on the way.

    One that is there already is closed to others. Raises OSError.
    """
    if not path.is_dir():
        missing = [path, *(p for p in path.parents if not p.exists())]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        for made in missing:
            sync(made.parent)
    if path.stat().st_mode & 0o077:
        with suppress(PermissionError):  # a volume that belongs to another user
            path.chmod(0o700)


def sync(path: Path) -> None:
    """Wait until the disk has this file, or the names in this folder."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def duplicate(source: Path, target: Path, *, link: bool) -> None:
    """A copy of a file, or with ``link`` a second name for it where the disk can do that.

    Linked files must never be changed in place, only replaced. ``target`` appears whole or
    not at all, and the disk has it when this returns.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        try:
            (os.link if link else shutil.copyfile)(source, part)
        except OSError:
            if not link:
                raise
            shutil.copyfile(source, part)
        sync(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)  # a rename onto another name of the same file leaves it


def to_parts(
    arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]
) -> list[bytes | memoryview]:
    """The file of `to_bytes`, byte for byte, as its header and views of float32/int32 arrays."""
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    comma = "," if header else ""
    stamped = f'{text[:-1]}{comma}"sha256":"{checksum(text, arrays)}"}}'
    table: dict[str, Any] = {"__metadata__": {KEY: stamped}}
    names = sorted(arrays, key=lambda k: (list(KINDS).index(arrays[k].dtype.str), k))
    end = 0
    for name in names:
        one = arrays[name]
        start, end = end, end + one.nbytes
        kind = KINDS[one.dtype.str]
        table[name] = {"dtype": kind, "shape": list(one.shape), "data_offsets": [start, end]}
    head = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    data = [arrays[name].reshape(-1).view(np.uint8).data for name in names]
    return [len(head).to_bytes(8, "little") + head, *data]


def to_bytes(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> bytes:
    """A safetensors file whose only metadata entry is the header as canonical JSON.

    The header's last field, ``sha256``, is over the rest of the header and all arrays.
    """
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    comma = "," if header else ""
    return save(arrays, metadata={KEY: f'{text[:-1]}{comma}"sha256":"{checksum(text, arrays)}"}}'})


def checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over a text and arrays by name: 64 hexadecimal digits."""
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
    if not stamped or stamped[2] != checksum(text, arrays):
        raise error(
            f"{kind} file {path} is damaged: its content does not match its SHA-256; take it from "
            "a backup or make it again"
        )
    return text, arrays


def open_arrays(
    path: Path, *, error: type[FedPatchCoreError]
) -> tuple[str, dict[str, StoredArray]]:
    """JSON header and arrays of a file of float32 matrices, none of them read or checked yet.

    Only for files that this process wrote or has checked with `read_arrays`.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            table = json.loads(file.read(length))
        told = STAMPED.fullmatch(table.pop("__metadata__")[KEY])[1]
        arrays = {
            name: StoredArray(path, 8 + length + one["data_offsets"][0], tuple(one["shape"]))
            for name, one in table.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise error(f"{path} cannot be read ({reason})") from None
    return f"{told}}}", arrays


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
