"""Pictures of single images, made and kept where the images are.

Of each product the telling cases are drawn: the clearest detections, the largest errors and
the typical ones, original beside heatmap beside ground truth. They are written at the site
and sent nowhere; only in a simulation, where all sites share one disk, does the report show
them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedpatchcore.data.images import load_image, union_mask
from fedpatchcore.detection.regions import find_regions
from fedpatchcore.detection.scoring import flat
from fedpatchcore.detection.smoothing import map_of
from fedpatchcore.errors import ImageError
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.files import write_atomically
from fedpatchcore.pictures.scale import Scale
from fedpatchcore.site.measuring import Scored

__all__ = [
    "KINDS",
    "LOW_PERCENTILE",
    "colour_scale",
    "file_stem",
    "pick",
    "read_cases",
    "save_cases",
    "save_prediction",
]

KINDS = ("best", "worst", "median")
LOW_PERCENTILE = 50.0
HIGH_PERCENTILE = 99.9


def pick(scored: Scored, threshold: float, count: int) -> list[tuple[int, str]]:
    """Choose images to look at → ``[(index into scored.images, kind)]``, no image twice.

    - ``best``: the defects scoring highest, only those above the threshold if there is one.
    - ``worst``: the largest errors, by how far a defect lies below or a good image above the
      threshold. Where there are too few errors, the closest calls follow. Without a threshold
      (NaN), the middle between the two classes' medians serves.
    - ``median``: by turns the defect and the good image nearest to their class's median score.

    Args:
        scored: `TestImage`s with their scores.
        count: images of each kind; fewer where there are not so many.
    """
    scores = np.asarray(scored.scores, dtype=np.float64)
    defective = np.array([image.anomalous for image in scored.images], dtype=bool)
    defects, goods = np.flatnonzero(defective), np.flatnonzero(~defective)
    level = threshold
    if not math.isfinite(level) and len(scores):
        level = float(np.mean([np.median(scores[c]) for c in (defects, goods) if len(c)]))
    found = [i for i in defects if not math.isfinite(threshold) or scores[i] > threshold]
    by_error = np.where(defective, level - scores, scores - level)
    typical = [_nearest_to_median(c, scores) for c in (defects, goods)]
    chosen: dict[int, str] = {}
    for kind, wish in zip(
        KINDS,
        (
            sorted(found, key=lambda i: (-scores[i], i)),
            sorted(range(len(scores)), key=lambda i: (-by_error[i], i)),
            _by_turns(*typical),
        ),
        strict=True,
    ):
        free = [int(i) for i in wish if int(i) not in chosen]
        chosen.update(dict.fromkeys(free[:count], kind))
    return list(chosen.items())


def _nearest_to_median(members: np.ndarray, scores: np.ndarray) -> list[int]:
    if not len(members):
        return []
    middle = np.median(scores[members])
    return sorted(members.tolist(), key=lambda i: (abs(scores[i] - middle), i))


def _by_turns(first: list[int], second: list[int]) -> list[int]:
    longest = max(len(first), len(second))
    return [part[at] for at in range(longest) for part in (first, second) if at < len(part)]


def colour_scale(scored: Scored, threshold: float) -> Scale:
    """The one colour scale of a product at a site.

    It begins at the median patch score of the good test images and has the threshold in its middle.
    Without a usable threshold the good patches' 99.9th percentile takes its place. Without good
    images all images count as good.
    """
    good = np.array([not image.anomalous for image in scored.images], dtype=bool)
    patches = flat(scored.some(good).patches if good.any() else scored.patches)
    if not patches.size:
        return Scale.of(None)
    low, usual = (float(v) for v in np.percentile(patches, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    middle = threshold if math.isfinite(threshold) and threshold > low else usual
    return Scale.around(low, middle)


def save_cases(
    folder: Path,
    site: str,
    product: str,
    scored: Scored,
    *,
    threshold: float,
    geometry: Geometry,
    count: int,
    scale: Scale | None = None,
    read: Callable[[Path], Image.Image] = load_image,
) -> None:
    """Draw the chosen images of a product into ``folder`` and list them in its ``cases.json``.

    Pictures of the same product from an earlier round are replaced; those of other products
    stay. An image that can no longer be read is left out.

    Args:
        threshold: NaN if none was set.
        count: pictures of each kind.
        scale: by default `colour_scale`.
        read: opens an image as the scores saw it.

    Raises:
        OSError: the folder cannot be written.
    """
    from fedpatchcore.pictures.figures import png, triple

    scale = scale or colour_scale(scored, threshold)
    entries: list[dict[str, Any]] = []
    numbers = dict.fromkeys(KINDS, 0)
    for index, kind in pick(scored, threshold, count):
        test, score = scored.images[index], float(scored.scores[index])
        try:
            image = read(test.path)
            mask = union_mask(test.masks, image.size) if test.masks else None
        except ImageError:
            continue
        numbers[kind] += 1
        patches = scored.patches[index]
        region = find_regions(patches, score, threshold, geometry, image.size)[1]
        picture = triple(
            image,
            geometry.restore(map_of(patches, geometry), *image.size),
            mask,
            score=score,
            threshold=threshold,
            scale=scale,
            region=region,
            label=test.label,
            title=f"{product}  ·  {site}",
        )
        name = f"{file_stem(product)}-{kind}-{numbers[kind]}-{file_stem(test.label)}.png"
        write_atomically(folder / name, png(picture))
        entries.append(
            {
                "site": site,
                "product": product,
                "kind": kind,
                "label": test.label,
                "score": score,
                "threshold": threshold if math.isfinite(threshold) else None,
                "file": name,
                "image": test.path.name,
            }
        )
    _merge(folder, site, product, entries)


def _merge(folder: Path, site: str, product: str, entries: list[dict[str, Any]]) -> None:
    listing = folder / "cases.json"
    old = read_cases(listing)
    kept = [e for e in old if (e.get("site"), e.get("product")) != (site, product)]
    files = {e["file"] for e in kept + entries}
    text = json.dumps(kept + entries, indent=1, ensure_ascii=False)
    write_atomically(listing, (text + "\n").encode())
    for entry in old:
        if entry["file"] not in files:
            (folder / entry["file"]).unlink(missing_ok=True)


def read_cases(listing: Path) -> list[dict[str, Any]]:
    """Entries of a ``cases.json``; none if it is missing or damaged.

    Entries whose file lies outside the listing's own folder are left out.
    """
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(entries, list):
        return []
    return [e for e in entries if isinstance(e, Mapping) and _plain_name(e.get("file"))]


def _plain_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


def save_prediction(
    path: Path,
    image: Image.Image,
    anomaly_map: np.ndarray,
    score: float,
    threshold: float,
    scale: Scale,
    *,
    region: np.ndarray | None = None,
    title: str = "",
) -> None:
    """Write one verdict as a PNG: the picture, its heatmap and the colour bar.

    Args:
        image: RGB.
        anomaly_map: float ``[H, W]`` at the picture's size.
        threshold: NaN if there is none.
        scale: the same for all pictures that are to be compared.
        region: bool ``[H, W]``, what is above the threshold; outlined on the heatmap.

    Raises:
        ConfigError: sizes differ.
        OSError: the file cannot be written.
    """
    from fedpatchcore.pictures.figures import png, triple

    picture = triple(
        image,
        anomaly_map,
        score=score,
        threshold=threshold,
        scale=scale,
        region=region,
        title=title,
    )
    write_atomically(Path(path), png(picture))


def file_stem(name: str) -> str:
    """A name fit for a file on any system; different names give different stems."""
    safe = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:48]
    if safe and safe == name:
        return safe
    return f"{safe or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
