"""Patch features of large pictures, piece by piece: read, cut, run through the network, cached.

In memory are one picture as bytes and the next one, which is read meanwhile, with a batch of tiles.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpatchcore.errors import ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.prefetch import in_order
from fedpatchcore.features.tiling import Piece
from fedpatchcore.timing.halting import checkpoint

__all__ = ["AHEAD", "KEPT", "TileReader", "pieces_of", "put_together", "stored_as"]

log = logging.getLogger("fedpatchcore")
AHEAD = 1  # pictures that are read while one is worked on
FIELD = "field"
KEPT = 0.5  # share of the cache that the pieces of one request may take; else none is kept


def pieces_of(
    backbone: Backbone, pixels: np.ndarray, *, batch_size: int = 8, index: int = 0
) -> Iterator[Piece]:
    """A picture's patches, tile by tile.

    Args:
        pixels: uint8 ``[H, W, 3]``, as `Backbone.square` gives them.
    """
    tiling = backbone.tiling
    field = pixels.shape[1], pixels.shape[0]
    grid, cuts = tiling.grid(field), tiling.cuts(field)

    def batches() -> Iterator[list[np.ndarray]]:
        for at in range(0, len(cuts), batch_size):
            checkpoint()
            some = cuts[at : at + batch_size]
            yield [backbone.pixels(tiling.tile(pixels, cut)) for cut in some]

    with closing(batches()) as made:
        features = (one for batch in backbone.flow(made) for one in batch)
        for cut, one in zip(cuts, features, strict=True):
            yield tiling.piece(index, cut, grid, one)


@dataclass
class _Opened:
    """What a thread made of one file: its pixels, or the size of one whose pieces are cached."""

    path: Path
    key: str = ""
    field: tuple[int, int] = (0, 0)
    pixels: np.ndarray | None = None
    reason: str = ""


class TileReader:
    """Pieces of image files, out of the cache where they are all there.

    Args:
        key: what a file's features are cached under.
        bad: told the path and the reason of a file that cannot be read; raises if they are too
            many.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        batch_size: int,
        cache: SiteCache | None,
        key: Callable[[Path], str],
        bad: Callable[[Path, str], None],
    ) -> None:
        self._backbone, self._batch_size = backbone, batch_size
        self._cache, self._key, self._bad = cache, key, bad
        self._fits: bool | None = None

    def stream(self, paths: Sequence[Path], counted: Callable[[bool], None]) -> Iterator[Piece]:
        """Pieces of all files in their order.

        Args:
            counted: told of each picture, before its first piece, whether it came from the cache.
        """
        with closing(in_order(self._open, paths, workers=1, ahead=AHEAD)) as opened:
            for index, one in enumerate(opened):
                checkpoint()
                if one.reason:
                    self._bad(one.path, one.reason)
                    continue
                counted(one.pixels is None)
                yield from self._pieces(index, one, len(paths))

    def _open(self, path: Path) -> _Opened:
        try:
            key = self._key(path) if self._cache else ""
            if key and (field := self._stored(key)):
                return _Opened(path, key, field)
            return _Opened(path, key, pixels=self._read(path))
        except ImageError as error:
            return _Opened(path, reason=str(error).removeprefix(f"{path}: "))

    def _read(self, path: Path) -> np.ndarray:
        return self._backbone.square(self._backbone.open(path))

    def _stored(self, key: str) -> tuple[int, int] | None:
        """Width and height at which a picture was seen, if all of its pieces are there."""
        entry = self._cache.get(stored_as(key))
        if entry is None:
            return None
        field = tuple(entry[1][FIELD].tolist())
        cuts = self._backbone.tiling.cuts(field)
        return field if all(self._cache.holds(_part(key, (c.y, c.x))) for c in cuts) else None

    def _pieces(self, index: int, one: _Opened, images: int) -> Iterator[Piece]:
        tiling = self._backbone.tiling
        if one.pixels is None:
            grid = tiling.grid(one.field)
            for cut in tiling.cuts(one.field):
                entry = self._cache.get(_part(one.key, (cut.y, cut.x)))
                if entry is None:  # gave way to others meanwhile
                    pixels = self._read(one.path)
                    where = cut.top, cut.left
                    how = {"batch_size": self._batch_size, "index": index}
                    rest = pieces_of(self._backbone, pixels, **how)
                    yield from (p for p in rest if (p.top, p.left) >= where)
                    return
                yield Piece(index, entry[1]["features"], cut.top, cut.left, grid)
            return
        field = one.pixels.shape[1], one.pixels.shape[0]
        keep = bool(one.key) and self._worth(field, images)
        cuts = tiling.cuts(field)
        found = pieces_of(self._backbone, one.pixels, batch_size=self._batch_size, index=index)
        for cut, piece in zip(cuts, found, strict=True):
            if keep:
                self._cache.put(
                    _part(one.key, (cut.y, cut.x)),
                    {"features": np.ascontiguousarray(piece.features)},
                )
            yield piece
        if keep:
            self._cache.put(stored_as(one.key), {FIELD: np.array(field, np.int64)})

    def _worth(self, field: tuple[int, int], images: int) -> bool:
        """Whether as many pictures as this one fit into the cache: else they would only pass it."""
        if self._fits is None:
            rows, columns = self._backbone.tiling.grid(field)
            needed = 4 * rows * columns * self._backbone.dimension * images
            self._fits = needed <= KEPT * self._cache.limit
            if not self._fits:
                log.info(
                    "features of %d pictures of %d x %d pixels take %.3g GB, more than half of the "
                    "cache (cache-gb): they are made anew each time",
                    images,
                    *field,
                    needed / 1e9,
                )
        return self._fits


def put_together(pieces: Iterable[Piece]) -> Iterator[tuple[int, np.ndarray]]:
    """Whole pictures out of their pieces."""
    whole: np.ndarray | None = None
    for piece in pieces:
        if whole is None:
            whole = np.empty((*piece.grid, piece.features.shape[-1]), np.float32)
        whole[piece.place] = piece.features
        if piece.last:
            yield piece.index, whole
            whole = None


def stored_as(key: str) -> str:
    """What tells, in a cache, that all pieces of a file are there."""
    return _part(key, FIELD)


def _part(key: str, what: object) -> str:
    return hashlib.sha256(f"{key}:{what}".encode()).hexdigest()
