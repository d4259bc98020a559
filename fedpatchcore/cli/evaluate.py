"""A bank on test images: what its threshold finds and stops, then how good scores are."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpatchcore.cli.common import (
    BankFile,
    Device,
    Engine,
    Weights,
    console,
    errors,
    finite,
    progress,
    take_place,
    warn,
)
from fedpatchcore.cli.evaluated import (
    Limit,
    Measured,
    kinds_table,
    scores_table,
    verdicts_table,
)
from fedpatchcore.cli.planted_found import plant, tell_planted, write_evaluation
from fedpatchcore.cli.thresholds import without_threshold
from fedpatchcore.data.layouts.registry import AUTO, LAYOUTS
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.errors import BankError, DataError
from fedpatchcore.metrics.promises import Promise
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.metrics.verdicts import Verdict, kinds_found

if TYPE_CHECKING:
    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.site.measuring import Scored

__all__ = ["evaluate"]

TARGET = DetectorSettings().target_fpr


def evaluate(
    bank: BankFile,
    data: Annotated[
        Path, typer.Argument(help="Folder with labelled test images: of a product, or of several.")
    ],
    layout: Annotated[str, typer.Option(help=f"{', '.join((AUTO, *LAYOUTS))}.")] = AUTO,
    site: Annotated[str, typer.Option(help="Judge as this site does.")] = "",
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0, callback=finite, help="Decide by this score instead of the calibrated one."
        ),
    ] = None,
    target_fpr: Annotated[
        float,
        typer.Option(
            min=1e-4,
            max=0.99,
            callback=finite,
            help="Share of good parts that may be stopped; said where it cannot be promised.",
        ),
    ] = TARGET,
    planted: Annotated[
        bool,
        typer.Option(
            "--planted",
            help="Also plant defects into good pictures: which kinds and sizes are found.",
        ),
    ] = False,
    trials: Annotated[
        int, typer.Option(min=1, max=20_000, help="Planted defects a product.")
    ] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of the planted defects.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Write metrics.json and pictures of curves here."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON line a product, no tables.")
    ] = False,
    weights: Weights = "",
    device: Device = "auto",
    engine: Engine = "",
) -> None:
    """Measure a bank on labelled test images: defects found, good parts stopped, AUROC, AUPRO.

    Verdicts are by the bank's threshold (of several sites: the median), beside what it promises.
    With --planted, defects are planted into good test images (into training images where there are
    too few): the probability of detection by kind, size and contrast at that threshold, with the
    sizes that are found in 50% and 90% of trials (a50, a90) and a90 at 95% confidence (a90/95).

    Example: fedpatchcore evaluate bolt.safetensors images/bolt --planted -o evaluated
    """
    from fedpatchcore.detection.detector import PatchCore

    detector = PatchCore.load(bank, weights=weights, device=device, engine=engine)
    if site and site not in detector.bank.sites:
        raise BankError(f"the bank has no site '{site}' ({', '.join(detector.bank.sites)})")
    if out is not None:
        take_place(out / "metrics.json", "figures")
    how = Planting(trials, seed) if planted else None
    measured = _measure(detector, data, layout, site, threshold, how)
    for one in measured:
        if math.isnan(one.limit.value):
            why = without_threshold(detector.bank, one.product, local=False)
            errors.print(f"no verdicts: {why}", markup=False, soft_wrap=True)
        for set_by, promise in one.limit.promises.items():
            for line in promise.shortcomings(target_fpr):
                warn(line, f"{one.product}, {set_by}: ")
    written = []
    if out is not None:
        figures = [one.told() for one in measured]
        written = write_evaluation(out, figures, [one.planted for one in measured if one.planted])
    if as_json:
        for one in measured:
            print(json.dumps(one.told()))
        return
    judged = [one for one in measured if one.verdict is not None]
    if judged:
        console.print(verdicts_table(judged))
    if any(one.verdict.kinds for one in judged):
        console.print(kinds_table(judged))
    if any(one.good or one.defective for one in measured):
        console.print(scores_table(measured))
    tell_planted([one.planted for one in measured if one.planted])
    for path in written:
        console.print(f"written  {path}", markup=False)


@dataclass(frozen=True)
class Planting:
    """How many defects are planted into a product's pictures, and their seed."""

    trials: int
    seed: int


def _measure(
    detector: Any,
    data: Path,
    layout: str,
    site: str,
    threshold: float | None,
    how: Planting | None,
) -> list[Measured]:
    from fedpatchcore.data.layouts.discovery import discover
    from fedpatchcore.detection.scoring import Scorer
    from fedpatchcore.features.extraction import Extractor
    from fedpatchcore.features.tally import Tally
    from fedpatchcore.site.measuring import measure, score_images, truth_masks

    every = discover(data, layout)
    products = {n: p for n, p in every.items() if p.test or (how and p.train)}
    if not products:
        raise DataError(f"{data} has no test images (expected <product>/test/<label>/*)")
    for name in products:
        detector.bank.section(name)  # a product that it lacks costs no others their time
    extractor, measured = Extractor(detector.backbone), []
    with progress() as bar:
        for name, product in products.items():
            task = bar.add_task(name, total=len(product.test))

            def step(done: int, of: int, task=task) -> None:
                bar.update(task, completed=done, total=of)

            scorer = Scorer.of(detector.bank, name, site, device=detector.backbone.device)
            limit = _limit(detector.bank, name, site, threshold)
            scored, one = None, Measured(name, 0, 0, limit, None, {})
            if product.test:
                scored = score_images(extractor, product.test, {"bank": scorer}, Tally(), step)[
                    "bank"
                ]
                masks = truth_masks(extractor, scored.images, scored.grids)
                found = measure(scored, masks, detector.backbone.geometry)
                bad = sum(t.anomalous for t in scored.images)
                verdict = _verdict(scored, limit.value)
                one = Measured(name, len(scored.images) - bad, bad, limit, verdict, found)
            if how:
                bar.update(task, description=f"{name}: planted defects")
                how_many = {"trials": how.trials, "seed": how.seed, "progress": step}
                try:
                    made = plant(detector, product, scorer, limit.value, scored, **how_many)
                    one = replace(one, planted=made)
                except DataError as error:
                    warn(str(error), f"{name}: nothing planted: ")
            measured.append(one)
    return measured


def _limit(bank: MemoryBank, product: str, site: str, threshold: float | None) -> Limit:
    """The score that decides: as given, the site's, the only one, or the median of several."""
    if threshold is not None:
        return Limit(threshold, "--threshold")
    voted = bool(bank.scoring.get("home")) and not site
    known = bank.thresholds_of(product, voted=voted)
    if site:
        known = {name: value for name, value in known.items() if name == site}
    if not known:
        return Limit()
    worths = {name: bank.worth_of(product, name) for name in known}
    promises = {name: Promise.of_bank(told) for name, told in worths.items() if told}
    if len(known) > 1:
        value = bank.threshold(product)
        return Limit(value, f"median of {len(known)} sites", promises=promises)
    ((only, value),) = known.items()
    return Limit(value, only, promises.get(only), promises)


def _verdict(scored: Scored, limit: float) -> Verdict | None:
    if math.isnan(limit):
        return None
    called = (scored.scores > limit).tolist()
    kinds = kinds_found(
        (test.label, over)
        for test, over in zip(scored.images, called, strict=True)
        if test.anomalous
    )
    good = [over for test, over in zip(scored.images, called, strict=True) if not test.anomalous]
    return Verdict(sum(kinds.values(), Rate(0, 0)), Rate(sum(good), len(good)), kinds)
