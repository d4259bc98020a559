"""Images that are to be judged: files and folders as they are given, each image once, by name.

Folders are walked to the bottom. A picture of a kind that is not read counts as an image, so that
it is told as one without a verdict. Hidden folders and those of masks (``ground_truth``) hold no
parts and are left out, unless one is given itself; what was left out is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fedpatchcore.data.decoding import reason
from fedpatchcore.data.images import list_images
from fedpatchcore.data.kinds import other_pictures
from fedpatchcore.errors import DataError

__all__ = ["Parts", "find_parts"]

MASKS = frozenset({"ground_truth", "groundtruth"})  # compared in lower case


@dataclass(frozen=True)
class Parts:
    """What was found.

    Attributes:
        images: files with the names they go by, in the order given, sorted within a folder. A name
            is the path below the folder that was given or, of several files and folders, below
            the deepest that holds them all; no two are alike.
        left_out: folders that were not entered, each with the reason.
    """

    images: dict[Path, str] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)


def find_parts(given: Iterable[Path], but: Path | None = None) -> Parts:
    """Find the images in files and folders; files are taken whatever their suffix.

    Args:
        but: a folder that holds no parts wherever it lies, such as one of heatmaps.

    Raises:
        DataError: a folder is not readable.
    """
    found: dict[Path, Path] = {}  # by its place below the real path of what was given
    left_out: dict[Path, str] = {}
    bases = []
    for path in map(Path, given):
        inside = path.is_dir()
        base = path if inside else path.parent
        bases.append(base.resolve())
        below = _below(path, but and but.resolve(), left_out, ()) if inside else [path]
        for image in below:
            found.setdefault(bases[-1] / image.relative_to(base), image)
    root = Path(os.path.commonpath(bases)) if bases else Path()
    named = {image: str(place.relative_to(root)) for place, image in found.items()}
    return Parts(named, left_out)


def _below(
    folder: Path, but: Path | None, left_out: dict[Path, str], above: tuple[Path, ...]
) -> list[Path]:
    """Images of a folder and of those in it, sorted; ``above``: real paths on the way here."""
    found = sorted((*list_images(folder), *other_pictures([folder])))
    above = (*above, folder.resolve())
    try:
        below = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({reason(error)})") from error
    for path in sorted(below):
        real = path.resolve()
        if path.name.startswith("."):
            left_out[path] = "hidden"
        elif path.name.lower() in MASKS:
            left_out[path] = "masks"
        elif real == but:
            left_out[path] = "heatmaps"
        elif real in above:
            left_out[path] = "leads back to a folder above it"
        else:
            found.extend(_below(path, but, left_out, above))
    return found
