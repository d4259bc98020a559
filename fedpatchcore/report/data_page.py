"""What a check of a folder found, as one page with the pictures it is about."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fedpatchcore.data.check.findings import FAULT, NOTE, WARNING, Finding
from fedpatchcore.data.images import load_image, load_mask
from fedpatchcore.data.products import Product
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.errors import ImageError, RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.report.render import render
from fedpatchcore.version import VERSION

__all__ = ["write_data_page"]

SHOWN = 24  # pictures a finding, pairs counted as two
WIDEST = 240  # pixels
ORDER = (FAULT, WARNING, NOTE)


@dataclass(frozen=True)
class Shown:
    """A picture in the page; ``source`` is "" if it cannot be drawn."""

    name: str
    source: str


@dataclass(frozen=True)
class Told:
    """A finding as the page shows it: pictures side by side, in twos if they are pairs."""

    finding: Finding
    pictures: Sequence[Sequence[Shown]]
    more: int


def write_data_page(
    target: Path,
    folder: Path,
    products: Mapping[str, Product],
    findings: Sequence[Finding],
    value_range: ValueRange | None = None,
) -> None:
    """Write the page, images drawn as they are read. Raises RunError if it cannot be written."""
    ordered = sorted(findings, key=lambda one: ORDER.index(one.kind))
    page = render(
        "data.html.j2",
        folder=folder.name or str(folder.resolve().name),
        products=[
            (
                p.name,
                len(p.train),
                sum(not t.anomalous for t in p.test),
                sum(t.anomalous for t in p.test),
            )
            for p in products.values()
        ],
        counts={kind: sum(one.kind == kind for one in findings) for kind in ORDER},
        findings=[_told(one, folder, value_range) for one in ordered],
        version=VERSION,
    )
    try:
        write_atomically(target, page.encode())
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror}") from None


def _told(finding: Finding, folder: Path, value_range: ValueRange | None) -> Told:
    step = 2 if finding.pairs else 1
    paths = [path for path in finding.paths if not path.is_dir()]
    shown = [_shown(path, folder, value_range) for path in paths[:SHOWN]]
    pictures = [shown[at : at + step] for at in range(0, len(shown), step)]
    return Told(finding, pictures, max(0, len(paths) - SHOWN) // step)


def _shown(path: Path, folder: Path, value_range: ValueRange | None) -> Shown:
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
    try:
        image = _picture(path, value_range)
    except ImageError:
        return Shown(name, "")
    image.thumbnail((WIDEST, WIDEST))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return Shown(name, f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}")


def _picture(path: Path, value_range: ValueRange | None) -> Image.Image:
    """An image as it is read; a mask, whose values may be 0 and 1, in black and white."""
    if {"ground_truth", "mask"} & set(path.parts):
        return Image.fromarray(load_mask(path)).convert("RGB")
    return load_image(path, value_range)
