"""``fedpatchcore fit``: learn what is normal from one machine's images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpatchcore.cli.common import (
    Overrides,
    console,
    progress,
    settings,
    take_place,
    to_config,
    told_once,
    warn,
)
from fedpatchcore.data.amounts import images_told, seen_told
from fedpatchcore.errors import DataError, ImageError

if TYPE_CHECKING:
    from PIL import Image

    from fedpatchcore.config import RunConfig
    from fedpatchcore.data.check.looks import Looks
    from fedpatchcore.data.products import Product
    from fedpatchcore.detection.detector import PatchCore
    from fedpatchcore.features.cache import SiteCache
    from fedpatchcore.features.extraction import Extractor

__all__ = ["fit", "grouped", "own_cache", "without_excluded"]


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
    from fedpatchcore.data.group_by import BY_FOLDER
    from fedpatchcore.data.layouts.discovery import discover, overlooked
    from fedpatchcore.data.value_range import parse_range
    from fedpatchcore.detection.detector import PatchCore
    from fedpatchcore.features.extraction import Extractor
    from fedpatchcore.site.faults import known_faults

    config = to_config(overrides)
    exclude = told_once(settings(overrides), "exclude", "--exclude", exclude)
    products = discover(
        data, config.layout, config.product_names(), deep=config.group_by == BY_FOLDER
    )
    left = overlooked(products.values())  # what is excluded is not overlooked
    products, left_out = without_excluded(products, Path(exclude) if exclude else None, data)
    teaching = {name: p.train for name, p in products.items() if p.train}
    if not teaching:
        raise DataError(f"{data} has no training images of good parts{left and f': {left}'}")
    take_place(bank, "bank")
    if pictures:
        take_place(pictures / "picture", "pictures in")
    detector = PatchCore(config)
    cache, taught = own_cache(config), {p for ps in teaching.values() for p in ps}
    extractor = Extractor(
        detector.backbone,
        batch_size=config.batch_size,
        workers=config.workers,
        max_bad_images=config.max_bad_images,
        cache=cache,
    )

    def seen(path: Path, image: Image.Image) -> None:
        if path in taught:
            extractor.keep(path, image)

    looks = Looks(parse_range(config.value_range), seen)
    faults = known_faults(products.values(), looks, cache)
    for line in (left, *(line for _, line in faults)):
        warn(line)
    belong = grouped(config, products, groups, data, looks, cache)
    looks.forget()
    _tell_cost(detector, extractor, sorted(taught))
    with progress() as bar:
        task = bar.add_task(f"learning with {config.backbone}", total=None)
        detector.fit(
            teaching,
            groups=belong,
            excluded=left_out,
            extractor=extractor,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        ).save(bank)
    for name in detector.bank.sections:
        _tell(name, detector, left_out.get(name, 0), config, pictures)
    console.print(f"bank written to {bank}")


def own_cache(config: RunConfig) -> SiteCache | None:
    """Where features are kept, for simulations too; None where that is not wanted."""
    from fedpatchcore.features.cache import SiteCache
    from fedpatchcore.places import cache_home

    return SiteCache(cache_home() / "simulated", config.cache_gb) if config.cache_gb else None


def _tell_cost(detector: PatchCore, extractor: Extractor, paths: Sequence[Path]) -> None:
    """Say how much a crop shows, and what features that are not in the cache cost here."""
    from fedpatchcore.features.cost import Pace, cost_of, share_seen, sizes_of
    from fedpatchcore.features.tiles import KEPT

    backbone, config = detector.backbone, detector.config
    fresh = [path for path in paths if not extractor.holds(path)]
    sizes = sizes_of(fresh or paths)
    if told := seen_told(share_seen(backbone.geometry, sizes)):
        console.print(told, markup=False)
    cost = cost_of(backbone, sizes, len(fresh), batch_size=config.batch_size)
    if cost is None or not fresh:
        return
    budget = config.budget_bytes(tiled=backbone.geometry.tiled)
    kept = extractor.cache is not None and cost.features < KEPT * extractor.cache.limit
    passes = 2 if budget and cost.features > budget and not kept else 1
    console.print(
        f"{cost.told(passes=passes, budget=budget)}; then coreset and threshold", markup=False
    )
    extractor.pace = Pace(passes * len(fresh), cost.seconds, lambda line: console.print(line))


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
    cache: SiteCache | None = None,
) -> dict[Path, str]:
    """Which images belong together, product by product: an image by itself has its content."""
    from fedpatchcore.data.content import content_hash
    from fedpatchcore.data.groups import named_groups
    from fedpatchcore.data.layouts.list import listed_groups
    from fedpatchcore.site.grouping import Grouping

    named = named_groups(table, data) if table else listed_groups(data)
    open_ = config.model_copy(update={"dp": "off"})  # nothing leaves this machine
    say = lambda line: console.print(line, markup=False)  # noqa: E731
    grouping = Grouping(open_, named, cache=cache, looks=looks, say=say)
    found: dict[Path, str] = {}
    for name, product in products.items():
        keys = {}
        for path in product.train:
            with suppress(ImageError):
                keys[path] = content_hash(path)
        if keys:
            found |= dict(zip(keys, grouping.labels(name, [product], keys), strict=True))
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
