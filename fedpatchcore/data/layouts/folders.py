"""What all layouts need of a folder: its visible entries, its name, what would have fitted."""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.layouts.registry import LAYOUTS
from fedpatchcore.errors import DataError

__all__ = ["entries", "expected", "folders", "product_name"]


def expected() -> str:
    """What each layout looks for, for messages."""
    told = [f"{one.expects} ({one.name})" for one in LAYOUTS.values()]
    return f"expected {', '.join(told[:-1])}, or {told[-1]}"


def product_name(folder: Path) -> str:
    """Name of a folder, also of "." and ".."."""
    return folder.name if folder.name not in {"", ".."} else folder.resolve().name


def folders(folder: Path) -> list[Path]:
    """Visible sub-folders, sorted."""
    return sorted(entry for entry in entries(folder) if entry.is_dir())


def entries(folder: Path) -> list[Path]:
    """Visible entries of a folder.

    Raises:
        DataError: the folder is missing, a file or not readable.
    """
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no such folder; check the path") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder}: is a file; give the folder that holds the data") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); grant access") from error
