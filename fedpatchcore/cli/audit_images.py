"""The images that an audit looks at: listed, thinned, told apart, and their patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedpatchcore.cli.common import progress
from fedpatchcore.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from fedpatchcore.features.extraction import Extractor

__all__ = ["listed", "patches_of", "require_disjoint", "spread"]

IMAGES = 48  # of either kind are enough around a canary


def listed(folder: Path) -> list[Path]:
    from fedpatchcore.data.images import list_images

    found = list(list_images(folder, recursive=True))
    if len(found) < 2:
        raise DataError(f"{folder} holds {len(found)} image(s): an audit needs 2 or more")
    return found


def spread(paths: Sequence[Path]) -> list[Path]:
    """Some of many, evenly."""
    import numpy as np

    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, IMAGES).astype(int))]


def require_disjoint(groups: Mapping[str, Sequence[Path]]) -> None:
    """The same image on two sides would make any figure meaningless."""
    from fedpatchcore.data.content import content_hash

    owner: dict[str, tuple[str, Path]] = {}
    for kind, paths in groups.items():
        for path in paths:
            first, twin = owner.setdefault(content_hash(path), (kind, path))
            if first != kind:
                raise DataError(f"the same image is in {first} and {kind}: {twin}, {path}")


def patches_of(tool: Extractor, paths: Sequence[Path], what: str) -> Iterator[np.ndarray]:
    """Patches ``[P, D]`` of each image."""
    from fedpatchcore.features.tally import Tally

    with progress() as bar:
        task = bar.add_task(what, total=len(paths))
        stream = tool.stream(paths, Tally(), lambda done, _: bar.update(task, completed=done))
        for _, features in stream:
            yield features.reshape(-1, features.shape[-1])
