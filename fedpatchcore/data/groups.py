"""Images that belong together: shots of one part, one lot. What is set aside goes by whole groups.

A threshold is honest only if the images that set it have no twins among those that teach.
``group-by`` says how groups are found:

    (empty), auto   near-identical images, see `fedpatchcore.data.likeness`
    none            every image by itself
    folder          sub-folders of the folder of training images
    anything else   a regular expression, looked for in the file's name: its first group, or all
                    that it matches, names the group; ``^(exp\\d+)`` takes exp4_num_17.jpg to exp4
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedpatchcore.data.group_by import AUTOMATIC, BY_FOLDER, SINGLE, compiled
from fedpatchcore.data.manifest import read_groups, real_path
from fedpatchcore.errors import DataError
from fedpatchcore.texts import counted

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Groups", "group_images", "named_groups"]


@dataclass(frozen=True)
class Groups:
    """Which images belong together.

    Attributes:
        of: label of each image; an image by itself has one of its own.
        how: one line for a person, "" if there is nothing to say.
        alone: the images by themselves.
    """

    of: Mapping[Path, str]
    how: str
    alone: frozenset[Path]


def group_images(
    paths: Iterable[Path],
    *,
    roots: Sequence[Path] = (),
    group_by: str = "",
    named: Mapping[Path, str] | None = None,
    small: Callable[[Path], Image.Image] | None = None,
) -> Groups:
    """Put images that belong together into groups.

    The groups depend on the set of images alone, not on their order.

    Args:
        paths: images; a path given twice counts once.
        roots: folders of training images, for "folder"; empty: the folder that holds all images.
        group_by: see above.
        named: groups that a table names, which go before ``group_by``.
        small: reads a picture at a thumbnail's size or more, to find near-identical ones
            (`fedpatchcore.data.check.looks.Looks.small`).

    Raises:
        ConfigError: ``group_by`` is no regular expression.
        DataError: a pattern, the sub-folders or the table make no group of these images, or one
            group of all.
    """
    pattern = compiled(group_by)
    images = sorted(set(map(Path, paths)), key=lambda path: path.as_posix())
    if not images:
        return Groups({}, "", frozenset())
    if named and (given := _named(images, named)):
        return _told(images, given, "that the table names", "add lines for other groups")
    if group_by in ("", AUTOMATIC):
        return _near_identical(images, small)
    if group_by == SINGLE:
        return _groups(images, {}, "")
    if group_by == BY_FOLDER:
        given = _by_folder(images, roots)
        fix = f"put each group's images into a folder of its own there, or set group-by='{SINGLE}'"
        return _told(images, given, "by folder", fix)
    found = {path: pattern.search(path.name) for path in images}
    given = {
        p: m[1] if pattern.groups and m[1] is not None else m[0] for p, m in found.items() if m
    }
    fix = f"its first (...) must match what the names of one group share, as in {images[0].name}"
    return _told(images, given, f"by file name pattern '{group_by}'", fix)


def named_groups(table: Path, data: Path) -> dict[Path, str]:
    """A site's table of groups, by path; files are relative to its data, or to the table's folder.

    Raises:
        DataError: as `read_groups`.
    """
    try:
        return read_groups(table, data)
    except DataError as error:
        if table.parent.resolve() == data.resolve():
            raise
        try:
            return read_groups(table)
        except DataError:
            raise error from None


def _named(images: Sequence[Path], named: Mapping[Path, str]) -> dict[Path, str]:
    known = {real_path(path): label for path, label in named.items()}
    keys = {path: real_path(path) for path in images}
    return {path: known[key] for path, key in keys.items() if known.get(key)}


def _by_folder(images: Sequence[Path], roots: Sequence[Path]) -> dict[Path, str]:
    tops = [Path(root) for root in roots]
    if not tops:
        tops = [Path(os.path.commonpath([path.parent.as_posix() for path in images]))]
    inside = {
        path: next((top for top in tops if path.parent != top and path.is_relative_to(top)), None)
        for path in images
    }
    return {
        path: f"{top.as_posix()}: {path.parent.relative_to(top).as_posix()}"
        for path, top in inside.items()
        if top is not None
    }


def _near_identical(images: Sequence[Path], small: Callable[[Path], Image.Image] | None) -> Groups:
    from fedpatchcore.data.check.looks import Looks
    from fedpatchcore.data.likeness import alike

    sets = alike(images, small or Looks().small)
    given = {images[at]: f"like {images[one[0]].as_posix()}" for one in sets for at in one}
    if not given:
        return _groups(images, {}, "")
    return _groups(
        images,
        given,
        f"{counted(len(sets), 'group')} of near-identical images "
        f"({len(given)} of {counted(len(images), 'image')})",
    )


def _told(images: Sequence[Path], given: Mapping[Path, str], by: str, fix: str) -> Groups:
    """Groups that someone asked for: none, or one of all, is a mistake."""
    sizes = Counter(given.values())
    if not sizes:
        raise DataError(f"no group {by} among {len(images)} images: {fix}")
    alone = len(images) - len(given)
    if len(images) > 1 and len(sizes) + alone == 1:
        raise DataError(
            f"all {len(images)} images are one group {by}, so that none can be set aside: {fix}"
        )
    how = f"{counted(len(sizes), 'group')} {by} (largest {counted(max(sizes.values()), 'image')})"
    if alone:
        how += f", {alone} of {len(images)} images by themselves"
    return _groups(images, given, how)


def _groups(images: Sequence[Path], given: Mapping[Path, str], how: str) -> Groups:
    of = {path: given.get(path, f"alone {path.as_posix()}") for path in images}
    return Groups(of, how, frozenset(path for path in images if path not in given))
