"""JSON files that carry their own SHA-256, so that no flipped bit and no missing byte passes.

    {"sha256": "<64 digits>",
     ...}

The digest is over all bytes after the first line. A file written by a version before 0.4 has no
such line, and nothing like it where a sealed file has it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpatchcore.errors import FedPatchCoreError

__all__ = ["SEAL", "read_sealed", "sealed"]

SEAL = "sha256"
FIRST = re.compile(rb'\{"sha256": "([0-9a-f]{64})",\n')
BEGINS, DIGEST = b'{"sha256"', re.compile(rb"[0-9a-f]{60}")  # what is left of a damaged seal


def sealed(content: Mapping[str, Any]) -> bytes:
    """A JSON object as the bytes of a file with a seal; NaN and infinity must be gone already.

    Raises ValueError if it is empty or has a key ``sha256`` of its own.
    """
    if not content or SEAL in content:
        raise ValueError("nothing to seal, or sealed before")
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    rest = (text[2:] + "\n").encode()  # without "{\n"
    return b'{"sha256": "' + hashlib.sha256(rest).hexdigest().encode() + b'",\n' + rest


def read_sealed(path: Path, *, error: type[FedPatchCoreError]) -> Any:
    """The content of a sealed file, without its seal; of an older file what it holds.

    Raises ``error``, in one line, when it cannot be read, is damaged or no JSON.
    """
    try:
        data = path.read_bytes()
    except OSError as reason:
        raise error(f"cannot read {path}: {reason.strerror or reason}") from None
    found = FIRST.match(data)
    rest = data[found.end() :] if found else b""
    old = not found and not data.startswith(BEGINS) and not DIGEST.search(data[:90])
    if not old and (not found or hashlib.sha256(rest).hexdigest() != found[1].decode()):
        raise error(f"{path} is damaged: it does not match its SHA-256; take it from a backup")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as reason:
        raise error(f"{path} is damaged: {reason}") from None
    if found:
        del content[SEAL]
    return content
