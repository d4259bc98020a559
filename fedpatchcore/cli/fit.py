"""``fedpatchcore fit``: learn what is normal from one machine's images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpatchcore.cli.common import (
    Overrides,
    console,
    progress,
    settings,
    to_config,
    told_once,
    warn,
)
from fedpatchcore.data.amounts import images_told
from fedpatchcore.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

    from fedpatchcore.config import RunConfig
    from fedpatchcore.data.check.looks import Looks
    from fedpatchcore.data.products import Product
    from fedpatchcore.detection.detector import PatchCore

__all__ = ["fit", "grouped", "without_excluded"]


def fit(
    data: Annotated[
        Path, typer.Argument(help="Folder in MVTec-AD, AutoVI or VisA layout, or of good images.")
    ],
    bank: Annotated[Path, typer.Option("--bank", "-o", help="Bank file to write.")] = Path(
        "bank.safetensors"
    ),
    exclude: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Training images to leave out: columns file,reason. The bank keeps their number.",
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Images that belong together: columns file,group."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Draw the training images that the rest explains least into this folder.",
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Learn what is normal from one machine's images, without federation.

    The threshold comes from the same images, each scored by a bank without it; what it promises,
    and which images it hangs on, is said.

    Example: fedpatchcore fit images/bolt -o bolt.safetensors -c backbone=filterbank
    """
    from fedpatchcore.data.check.looks import Looks
    from fedpatchcore.data.check.running import gravest
    from fedpatchcore.data.group_by import BY_FOLDER
    from fedpatchcore.data.layouts.discovery import discover, overlooked
    from fedpatchcore.data.value_range import parse_range
    from fedpatchcore.detection.detector import PatchCore
    from fedpatchcore.features.squares import Squares

    config = to_config(overrides)
    exclude = told_once(settings(overrides), "exclude", "--exclude", exclude)
    products = discover(
        data, config.layout, config.product_names(), deep=config.group_by == BY_FOLDER
    )
    products, left_out = without_excluded(products, Path(exclude) if exclude else None, data)
    teaching = {name: p.train for name, p in products.items() if p.train}
    if not teaching:
        left = overlooked(products.values())
        raise DataError(f"{data} has no training images of good parts{left and f': {left}'}")
    detector = PatchCore(config)
    squares, taught = Squares(detector.backbone), {p for ps in teaching.values() for p in ps}

    def seen(path: Path, image: Image.Image) -> None:
        if path in taught:
            squares.keep(path, image)

    looks = Looks(parse_range(config.value_range), seen)
    grave = gravest(products.values(), looks)
    for line in (overlooked(products.values()), *(one.line for one in grave)):
        warn(line)
    belong = grouped(config, products, groups, data, looks)
    pace = _tell_cost(detector, teaching, looks)
    looks.forget()
    with progress() as bar:
        task = bar.add_task(f"learning with {config.backbone}", total=None)
        detector.fit(
            teaching,
            groups=belong,
            excluded=left_out,
            read=squares.read,
            extracted=pace,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        ).save(bank)
    for name in detector.bank.sections:
        _tell(name, detector, left_out.get(name, 0), config, pictures)
    console.print(f"bank written to {bank}")


def _tell_cost(
    detector: PatchCore, teaching: Mapping[str, Sequence[Path]], looks: Looks
) -> Callable[[int], None]:
    """Say what the settings cost here, and how much a crop shows; what is to hear of images."""
    from fedpatchcore.features.cost import Pace, cost_of, share_seen

    backbone, config = detector.backbone, detector.config
    paths = [path for product in teaching.values() for path in product]
    sizes = [look.size for path in paths if not (look := looks.at(path)).problem]
    share = share_seen(backbone.geometry, sizes)
    if share < 1:
        console.print(f"geometry='crop' shows {share:.0%} of the pictures' area", markup=False)
    cost = cost_of(backbone, sizes, len(paths), batch_size=config.batch_size)
    if cost is None:
        return lambda images: None
    budget = config.budget_bytes(tiled=backbone.geometry.tiled)
    passes = 2 if budget and cost.features > budget else 1
    console.print(
        f"{cost.told(passes=passes, budget=budget)}; then coreset and threshold", markup=False
    )
    return Pace(passes * len(paths), cost.seconds, lambda line: console.print(line)).extracted


def without_excluded(
    products: Mapping[str, Product], table: Path | None, data: Path
) -> tuple[Mapping[str, Product], dict[str, int]]:
    from fedpatchcore.data.exclude import excluded, without

    return without(products, excluded(table, data), table) if table else (products, {})


def grouped(
    config: RunConfig,
    products: Mapping[str, Product],
    table: Path | None,
    data: Path,
    looks: Looks,
) -> dict[Path, str]:
    """Which images belong together, product by product."""
    from fedpatchcore.data.groups import group_images, named_groups
    from fedpatchcore.data.layouts.list import listed_groups

    named = named_groups(table, data) if table else listed_groups(data)
    found: dict[Path, str] = {}
    for name, product in products.items():
        if not product.train:
            continue
        made = group_images(
            product.train,
            roots=[product.training_folder],
            group_by=config.group_by,
            named=named,
            small=looks.small,
        )
        if made.how:
            console.print(f"{name}: {made.how}", markup=False)
        found |= {path: label for path, label in made.of.items() if path not in made.alone}
    return found


def _tell(
    name: str, detector: PatchCore, left_out: int, config: RunConfig, pictures: Path | None
) -> None:
    """What was learned of a product, what its threshold is worth, and who decides it."""
    from fedpatchcore.detection.telling import named_suspects, rests_on

    section, learned = detector.bank.sections[name], detector.learned[name]
    found = learned.threshold
    images = images_told(learned.taught, learned.held_out, learned.bad)
    images += f", {left_out} excluded" if left_out else ""
    console.print(
        f"{name}: {images} → {len(section):,} rows, covering radius {section.radius:.4g}, "
        f"{f'threshold {found.value:.4g}' if found.images else 'no threshold'}",
        markup=False,
    )
    promise = found.promise(learned.folds)
    if found.images:
        console.print(f"  it rests on {promise.worth}", markup=False)
    for line in promise.shortcomings(config.target_fpr):
        warn(line, f"{name}: ")
    if not learned.suspects:
        return
    names = [getattr(learned.images[one.number], "name", "") for one in learned.suspects]
    console.print(
        f"  least explained by the rest: {named_suspects(learned.suspects, names)}", markup=False
    )
    warn(rests_on(found, names[0]), f"{name}: ")
    if pictures:
        _draw(pictures, name, detector)


def _draw(folder: Path, name: str, detector: PatchCore) -> None:
    from fedpatchcore.pictures.suspects import save_suspects

    learned = detector.learned[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_suspects(
            folder,
            name,
            learned.images,
            learned.scores,
            learned.suspects,
            threshold=learned.threshold.value,
            geometry=detector.backbone.geometry,
            read=detector.backbone.open,
        )
    except OSError as error:
        raise DataError(f"cannot write pictures to {folder}: {error.strerror}") from None
    console.print(f"  pictures of them in {folder}")
