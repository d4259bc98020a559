"""What a tune found, as files: the settings, one page, one picture, all figures."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.pictures.front import front_picture
from fedpatchcore.report.charts.front import front_chart
from fedpatchcore.report.charts.shapes import drawn
from fedpatchcore.report.model import Row, Table, row, table
from fedpatchcore.report.render import render
from fedpatchcore.sealed import sealed
from fedpatchcore.texts import together
from fedpatchcore.tuning.ranking import Ranked, front
from fedpatchcore.tuning.search import Found
from fedpatchcore.tuning.written import chosen_settings, write_settings
from fedpatchcore.version import VERSION

__all__ = ["write_tune"]

HEAD = ("candidate", "images", "planted AUROC", "90%", "over told", "90%", "s an image", "GB")


def write_tune(
    folder: Path,
    found: Found,
    base: RunConfig,
    *,
    images: Mapping[str, int] | None = None,
    sites: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """Write ``tuned.toml``, ``tune.html``, ``tune.png``, ``tune.json`` → their paths.

    Args:
        base: the settings told.
        images: pictures that were tried, by product.
        sites: of a federated run, by number of pictures, candidate and site.

    Raises:
        RunError: the folder cannot be written.
    """
    chosen = found.chosen
    settings = chosen_settings(found.candidates[chosen.name].settings(base))
    paths = {
        "settings": folder / "tuned.toml",
        "page": folder / "tune.html",
        "picture": folder / "tune.png",
        "figures": folder / "tune.json",
    }
    stream = io.BytesIO()
    front_picture(found.ranking, chosen.name).save(stream, "PNG")
    page = render(
        "tune.html.j2",
        chosen=chosen,
        words=found.words(),
        settings=settings,
        chart=drawn(front_chart, found.ranking, chosen.name),
        table=_table(found),
        left_out=together(found.left_out),
        in_time=found.in_time,
        images=images or {},
        sites=_sites(sites, chosen.name) if sites else None,
        version=VERSION,
    )
    figures = {
        "version": VERSION,
        "chosen": chosen.name,
        "settings": settings,
        "in_time": found.in_time,
        "images": dict(images or {}),
        **({"sites": dict(sites), "basis": found.basis} if sites else {}),
        "ranking": [_plain(one) for one in found.ranking],
        "earlier": [_plain(one) for one in found.earlier],
        "left_out": found.left_out,
    }
    write_settings(paths["settings"], settings, ["Written by fedpatchcore tune.", *found.words()])
    try:
        write_atomically(paths["page"], page.encode(errors="replace"))
        write_atomically(paths["picture"], stream.getvalue())
        write_atomically(paths["figures"], sealed(figures))
    except OSError as error:
        raise RunError(f"cannot write into {folder}: {error.strerror}") from None
    return paths


def _table(found: Found) -> Table:
    best = {one.name for one in front(found.ranking)}
    rows = [_row(one, one.name in best) for one in found.ranking]
    return table(HEAD, rows + [_row(one, False) for one in found.earlier])


def _sites(sites: Mapping[str, Any], chosen: str) -> Table:
    """The chosen candidate at every site, in the last step that it was in."""
    own = next(told[chosen] for told in reversed(list(sites.values())) if chosen in told)
    rows = [
        row(
            site,
            one["images"],
            f"{one['auroc']:.3f}",
            f"{one['low']:.3f} to {one['high']:.3f}",
            f"{one['seconds']:.3f}",
            f"{one['memory'] / 1e9:.2f}",
        )
        for site, one in own.items()
    ]
    return table(["site", "images", "planted AUROC", "90%", "s an image", "GB"], rows)


def _row(one: Ranked, best: bool) -> Row:
    return row(
        f"◆ {one.name}" if best else one.name,
        one.images,
        f"{one.auroc:.3f}",
        f"{one.low:.3f} to {one.high:.3f}",
        *one.gained,
        f"{one.seconds:.3f}",
        f"{one.memory / 1e9:.2f}",
    )


def _plain(one: Ranked) -> dict[str, Any]:
    """As JSON takes it: what is undefined is null."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(one).items()
    }
