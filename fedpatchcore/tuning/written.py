"""The chosen settings as a file that every command takes with ``-c FILE.toml``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.errors import RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.settings import kebab
from fedpatchcore.texts import one_line

__all__ = ["chosen_settings", "write_settings"]

# of the machine that tuned, not of the part
HERE = ("device", "threads", "workers", "compile", "cache-gb", "batch-size", "memory-budget")
HERE += ("download-weights", "max-bad-images")


def chosen_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of features, coreset, bank and scores that are not the defaults."""
    plain, told = RunConfig().table(), config.table()
    keys = [kebab(name) for name in DetectorSettings.model_fields]
    return {key: told[key] for key in keys if key not in HERE and told[key] != plain[key]}


def write_settings(path: Path, settings: dict[str, Any], why: list[str]) -> None:
    """Write them as TOML, ``why`` as comments above. Raises RunError."""
    lines = [f"# {one_line(line)}" for line in why]
    if settings.get("weights"):
        lines.append("# weights is a file of this machine: leave it out where sites have their own")
    lines += [f"{key} = {_toml(value)}" for key, value in settings.items()]
    try:
        write_atomically(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from None


def _toml(value: object) -> str:
    """JSON's texts, numbers and booleans are TOML's."""
    return json.dumps(value, ensure_ascii=False)
