"""Probability of detection on the console and in files, for ``evaluate --planted``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import console
from fedpatchcore.errors import RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.metrics.planted_found import LIMITS, PlantedFound, without_curve

if TYPE_CHECKING:
    from fedpatchcore.data.products import Product
    from fedpatchcore.detection.detector import PatchCore
    from fedpatchcore.detection.scoring import Scorer
    from fedpatchcore.metrics.detection_probability import NoPod, Pod
    from fedpatchcore.site.measuring import Scored

__all__ = ["Planted", "plant", "tell_planted", "write_evaluation"]


@dataclass(frozen=True)
class Planted:
    """Of one product.

    Attributes:
        real: the curve of real defects whose masks are there, or why there is none; None of none.
    """

    product: str
    found: PlantedFound
    real: Pod | NoPod | None = None

    def told(self) -> dict[str, Any]:
        """As plain values."""
        return self.found.told() | {"real": self.real.told() if self.real else None}


def plant(
    detector: PatchCore,
    product: Product,
    scorer: Scorer,
    limit: float,
    scored: Scored | None,
    *,
    trials: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Planted:
    """Plant defects into the product's good pictures. Raises DataError where that cannot be."""
    from fedpatchcore.metrics.detection_probability import fit_pod
    from fedpatchcore.site.planted import good_pictures, plant_into, real_sizes

    pictures, learnt = good_pictures(product)
    found = plant_into(
        detector.backbone,
        pictures,
        lambda features: scorer(features).images,
        limit,
        learnt=learnt,
        trials=trials,
        seed=seed,
        progress=progress,
    )
    real = None
    if scored is not None:
        sizes, hits = real_sizes(scored.images, scored.scores, limit, detector.backbone)
        real = fit_pod(sizes, hits) if sizes else None
    return Planted(product.name, found, real)


def tell_planted(every: Sequence[Planted]) -> None:
    """The tables, and what they do not say."""
    for one in every:
        console.print(_table(one))
        for line in notes(one):
            console.print(f"  {line}", markup=False)
    if every:
        console.print(LIMITS, markup=False)


def notes(one: Planted) -> Iterable[str]:
    """What a reader of the table needs beside it."""
    found = one.found
    where = "pictures that the bank learnt from" if found.learnt else "good pictures it never saw"
    yield (
        f"{found.found.of:,} defects in {found.pictures:,} {where}; of these as they are "
        f"{found.stopped} are stopped"
    )
    yield from (f"no curve: {line}" for line in without_curve(found.lines()))
    if one.real is not None and (reason := getattr(one.real, "reason", "")):
        yield f"real defects with a mask: {one.real.hits} of {one.real.trials}; no curve: {reason}"


def _table(one: Planted) -> Table:
    title = f"{escape(one.product)}: planted defects found at the threshold, by size"
    table = Table(title=title, title_justify="left")
    lines = one.found.lines()
    sizes = sorted({size for _, size, _ in one.found.cells})
    for column in ("", "defects", *(f"{100 * size:g}%" for size in sizes), "all"):
        table.add_column(column, justify="left" if column in ("", "defects") else "right")
    for column in ("a50", "a90", "a90/95"):
        table.add_column(column, justify="right")
    before = "all"
    for line in lines:
        if line.what != before:
            table.add_section()
        what = line.what if line.what not in (before, "all") else ""
        cells = [line.sizes[s].counts if s in line.sizes else "–" for s in sizes]
        table.add_row(what, escape(line.name), *cells, line.found.counts, *line.ends)
        before = line.what
    if one.real is not None:
        table.add_section()
        ends = _ends(one.real)
        blank = [""] * len(sizes)
        told = f"{one.real.hits} of {one.real.trials}"
        table.add_row("real", "with a mask", *blank, told, *ends)
    return table


def _ends(curve: Pod | NoPod) -> tuple[str, str, str]:
    from fedpatchcore.metrics.planted_found import Line
    from fedpatchcore.metrics.rates import Rate

    return Line("real", "", Rate(0, 0), {}, curve).ends


def write_evaluation(
    folder: Path, figures: Sequence[Mapping[str, Any]], planted: Sequence[Planted]
) -> list[Path]:
    """Write ``metrics.json`` and a picture a product with planted defects → their paths.

    Raises RunError if the folder cannot be written.
    """
    from fedpatchcore.pictures.cases import file_stem
    from fedpatchcore.pictures.pod import pod_picture
    from fedpatchcore.sealed import sealed

    paths = [folder / "metrics.json"]
    try:
        write_atomically(paths[0], sealed({"products": list(figures)}))
        for one in planted:
            stream = io.BytesIO()
            title = f"{one.product}: probability of detection of planted defects"
            pod_picture(title, one.found, one.real).save(stream, "PNG")
            paths.append(folder / f"planted-{file_stem(one.product)}.png")
            write_atomically(paths[-1], stream.getvalue())
    except OSError as error:
        raise RunError(f"cannot write into {folder}: {error.strerror}") from None
    return paths
