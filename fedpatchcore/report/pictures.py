"""Pictures of a simulated run: from the sites' folders into the report."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fedpatchcore.pictures.cases import KINDS, file_stem, read_cases

__all__ = ["Picture", "Pictures", "gather"]

MOST = 150  # pictures within the page; the rest lie beside it
WIDEST = 1240  # pixels


@dataclass(frozen=True)
class Picture:
    """One entry of a ``cases.json`` with its file in the run's ``heatmaps`` folder.

    ``image`` is named with its label, ``scratch/001.png``: each folder has a 001.png.
    """

    site: str
    product: str
    kind: str
    image: str
    path: Path

    def data_uri(self) -> tuple[str, bool]:
        """The picture as a JPEG within a link, and whether it needs a line of its own.

        Raises OSError if it cannot be decoded.
        """
        with Image.open(self.path) as opened:
            picture = opened.convert("RGB")
        if picture.width > WIDEST:
            picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=86)
        text = base64.b64encode(stream.getvalue()).decode()
        return f"data:image/jpeg;base64,{text}", picture.width > 3 * picture.height


@dataclass(frozen=True)
class Pictures:
    """All pictures of a run; empty where the sites keep theirs."""

    all: tuple[Picture, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.all)

    def of(self, product: str, kind: str) -> tuple[list[Picture], int]:
        """Pictures to show, every site getting its turn, and how many more there are."""
        mine = [p for p in self.all if (p.product, p.kind) == (product, kind)]
        groups = len({(p.product, p.kind) for p in self.all})
        room = max(2, MOST // max(groups, 1))
        return list(_by_turns(mine))[:room], max(0, len(mine) - room)


def _by_turns(pictures: Iterable[Picture]) -> Iterable[Picture]:
    turns: dict[str, int] = {}
    placed = []
    for at, picture in enumerate(pictures):
        turns[picture.site] = turns.get(picture.site, 0) + 1
        placed.append((turns[picture.site], picture.site, at, picture))
    return [picture for *_, picture in sorted(placed, key=lambda p: p[:3])]


def gather(run: Path) -> Pictures:
    """Copy the sites' pictures into ``<run>/heatmaps`` and list them. Raises OSError."""
    found = []
    target = run / "heatmaps"
    for listing in sorted((run / "sites").rglob("heatmaps/cases.json")):
        for entry in read_cases(listing):
            source = listing.parent / entry["file"]
            if not _usable(entry) or not source.is_file():
                continue
            target.mkdir(exist_ok=True)
            copy = target / f"{file_stem(entry['site'])}-{entry['file']}"
            shutil.copyfile(source, copy)
            image = f"{entry['label']}/{entry['image']}" if entry.get("label") else entry["image"]
            found.append(Picture(entry["site"], entry["product"], entry["kind"], image, copy))
    if found:
        for old in set(target.glob("*.png")) - {p.path for p in found}:
            old.unlink()  # of an earlier round
    return Pictures(tuple(found))


def _usable(entry: dict[str, Any]) -> bool:
    texts = all(isinstance(entry.get(key), str) for key in ("site", "product", "image"))
    return texts and entry.get("kind") in KINDS
