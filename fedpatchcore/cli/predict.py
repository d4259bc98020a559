"""``fedpatchcore predict``: judge images on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpatchcore.cli.common import BankFile, Device, Engine, Weights, errors, finite, take_place
from fedpatchcore.cli.thresholds import sites_with_threshold, without_threshold
from fedpatchcore.errors import BankError, DataError, ImageError

if TYPE_CHECKING:
    from fedpatchcore.detection.judging import Prediction

__all__ = ["predict"]


def predict(
    bank: BankFile,
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, or folders of images, which are walked to the bottom."),
    ],
    product: Annotated[str, typer.Option(help="Section of the bank, if it has several.")] = "",
    site: Annotated[str, typer.Option(help="Judge as this site does.")] = "",
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            callback=finite,
            help="Decide by this score instead of the calibrated one.",
        ),
    ] = None,
    local: Annotated[
        Path | None,
        typer.Option(
            metavar="BANK",
            help="The site's own bank (fedpatchcore fit): a patch that either bank knows is "
            "normal. Thresholds of the first bank, or --threshold, decide.",
        ),
    ] = None,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            help="Write a picture of each verdict into this folder: IMAGE.png, in folders as the "
            "images are. A line marks each region above the threshold."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines with all regions, no table.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Also write a table for spreadsheets, one line an image: score, threshold, "
            "verdict, number of regions; and of the region of the highest score its box and "
            "area in pixels of the image, that score (peak) and where it is (x, y).",
        ),
    ] = None,
    csv_regions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a table of all regions, one line a region."),
    ] = None,
    weights: Weights = "",
    device: Device = "auto",
    engine: Engine = "",
) -> None:
    """Judge images: exit code 0 if all are ok, 1 if any is defective, 2 on an error.

    A defective image has at least one region above the threshold, one that is ok has none. An
    image that cannot be read, or on which there is no verdict for want of a threshold, counts as
    an error and does not stop the others.
    """
    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.cli.verdicts import verdicts
    from fedpatchcore.data.parts import find_parts
    from fedpatchcore.data.stored import pages_in
    from fedpatchcore.detection.detector import PatchCore

    if not any(given.exists() for given in images):
        raise DataError(f"there is no {' and no '.join(map(str, images))}")
    if heatmaps:
        if any(given.resolve() == heatmaps.resolve() for given in images):
            raise DataError(f"{heatmaps}: heatmaps need another folder than the images")
        take_place(heatmaps / "picture", "heatmaps to")
    detector = PatchCore.load(bank, weights=weights, device=device, engine=engine)
    own = MemoryBank.load(local) if local else None
    product = detector.bank.product(product)
    known = sites_with_threshold(detector.bank, product)
    if site and threshold is None and not known:
        raise BankError(without_threshold(detector.bank, product))
    found = find_parts(images, but=heatmaps)
    if not found.images:
        raise DataError(f"no images in {', '.join(map(str, images))}")
    if found.left_out:
        errors.print(_left_out(found.left_out), markup=False, soft_wrap=True)
    further = {}
    with verdicts(as_json, csv, csv_regions) as told:
        for path, name in found.images.items():
            try:
                result = detector.predict(path, product, site=site, threshold=threshold, local=own)
            except ImageError as error:
                told.unreadable(path, error)
                continue
            if pages_in(path) > 1:
                further[path] = "all pages but the first"
            picture = None
            if heatmaps:
                picture = _heatmap(heatmaps, name, result)
            told.add(path, result, picture)
    told.show()
    if further:
        errors.print(_left_out(further), markup=False, soft_wrap=True)
    if told.undecided:
        errors.print(
            f"error: no verdict on {told.undecided} of {told.judged}: "
            f"{without_threshold(detector.bank, product)}",
            markup=False,
            soft_wrap=True,
        )
    if told.failed or told.undecided:
        raise typer.Exit(2)
    raise typer.Exit(1 if told.defective else 0)


def _left_out(folders: Mapping[Path, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for folder, reason in folders.items():
        reasons.setdefault(reason, []).append(str(folder))
    told = []
    for reason, names in reasons.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        told.append(f"{', '.join(names[:3])}{more} ({reason})")
    return f"not judged: {'; '.join(told)}"


def _heatmap(folder: Path, name: str, result: Prediction) -> Path:
    from fedpatchcore.pictures.cases import save_prediction
    from fedpatchcore.pictures.scale import Scale

    target = folder / f"{name}.png"
    try:
        save_prediction(
            target,
            result.image,
            result.anomaly_map,
            result.score,
            result.threshold,
            Scale.of(result.threshold),
            region=result.mask,
            title=name,
        )
    except OSError as error:
        raise DataError(f"cannot write heatmaps to {folder}: {error.strerror}") from None
    return target
