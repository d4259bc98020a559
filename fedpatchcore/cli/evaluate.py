"""A bank on labelled test images: what its threshold finds and stops, then how good scores are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import (
    BankFile,
    Device,
    Engine,
    Weights,
    console,
    errors,
    finite,
    number,
    progress,
    warn,
)
from fedpatchcore.cli.results import VERDICTS
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
FIGURES = ("image_auroc", "average_precision", "f1_best", "pixel_auroc", "aupro")


@dataclass(frozen=True)
class Limit:
    """The score that decides; NaN without one.

    Attributes:
        source: who set it.
        promise: None where it is not one site's own.
        promises: of all thresholds that it is made of, by site.
    """

    value: float = math.nan
    source: str = ""
    promise: Promise | None = None
    promises: Mapping[str, Promise] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """One product; ``verdict`` is None without a threshold."""

    product: str
    good: int
    defective: int
    limit: Limit
    verdict: Verdict | None
    figures: Mapping[str, float]

    def told(self) -> dict[str, Any]:
        """As one JSON object."""
        promise = asdict(self.limit.promise) if self.limit.promise else None
        verdict = self.verdict.told() if self.verdict else dict.fromkeys(Verdict().told())
        return {
            "product": self.product,
            "good": self.good,
            "defective": self.defective,
            "threshold": _known(self.limit.value),
            "set_by": self.limit.source or None,
            "promise": promise and {name: _known(value) for name, value in promise.items()},
            **verdict,
            **{name: _known(self.figures.get(name, math.nan)) for name in FIGURES},
        }


def evaluate(
    bank: BankFile,
    data: Annotated[
        Path, typer.Argument(help="Folder with labelled test images: of a product, or of several.")
    ],
    layout: Annotated[str, typer.Option(help=f"{', '.join((AUTO, *LAYOUTS))}.")] = AUTO,
    site: Annotated[str, typer.Option(help="Judge as this site does.")] = "",
    threshold: Annotated[
        float | None,
        typer.Option(callback=finite, help="Decide by this score instead of the calibrated one."),
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON line a product, no tables.")
    ] = False,
    weights: Weights = "",
    device: Device = "auto",
    engine: Engine = "",
) -> None:
    """Measure a bank on labelled test images: defects found, good parts stopped, AUROC, AUPRO.

    Verdicts are by the bank's threshold (of several sites: the median), beside what it promises.
    """
    from fedpatchcore.detection.detector import PatchCore

    detector = PatchCore.load(bank, weights=weights, device=device, engine=engine)
    if site and site not in detector.bank.sites:
        raise BankError(f"the bank has no site '{site}' ({', '.join(detector.bank.sites)})")
    measured = _measure(detector, data, layout, site, threshold)
    for one in measured:
        if one.verdict is None:
            why = without_threshold(detector.bank, one.product, local=False)
            errors.print(f"no verdicts: {why}", markup=False, soft_wrap=True)
        for set_by, promise in one.limit.promises.items():
            for line in promise.shortcomings(target_fpr):
                warn(line, f"{one.product}, {set_by}: ")
    if as_json:
        for one in measured:
            print(json.dumps(one.told()))
        return
    judged = [one for one in measured if one.verdict is not None]
    if judged:
        console.print(_verdicts(judged))
    if any(one.verdict.kinds for one in judged):
        console.print(_kinds(judged))
    console.print(_scores(measured))


def _measure(
    detector: Any, data: Path, layout: str, site: str, threshold: float | None
) -> list[Measured]:
    from fedpatchcore.data.layouts.discovery import discover
    from fedpatchcore.detection.scoring import Scorer
    from fedpatchcore.features.extraction import Extractor, Tally
    from fedpatchcore.site.measuring import measure, score_images, truth_masks

    products = {n: p for n, p in discover(data, layout).items() if p.test}
    if not products:
        raise DataError(f"{data} has no test images (expected <product>/test/<label>/*)")
    extractor, measured = Extractor(detector.backbone), []
    with progress() as bar:
        for name, product in products.items():
            task = bar.add_task(name, total=len(product.test))
            scored = score_images(
                extractor,
                product.test,
                {"bank": Scorer.of(detector.bank, name, site, device=detector.backbone.device)},
                Tally(),
                lambda done, _, task=task: bar.update(task, completed=done),
            )["bank"]
            masks = truth_masks(extractor, scored.images)
            found = measure(scored, masks, detector.backbone.geometry.size)
            bad = sum(t.anomalous for t in scored.images)
            limit = _limit(detector.bank, name, site, threshold)
            verdict = _verdict(scored, limit.value)
            measured.append(Measured(name, len(scored.images) - bad, bad, limit, verdict, found))
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


def _verdicts(measured: Iterable[Measured]) -> Table:
    table = Table(title=VERDICTS, title_justify="left")
    for column in ("product", "threshold", "set by", "defects found", "good stopped", "promised"):
        table.add_column(column, justify="left" if column in ("product", "set by") else "right")
    for one in measured:
        source, promise = one.limit.source, one.limit.promise
        promised = str(promise) if promise else "–"
        found, stopped = one.verdict.found.brief, one.verdict.stopped.brief
        limit = number(one.limit.value, 4)
        table.add_row(escape(one.product), limit, escape(source), found, stopped, promised)
    return table


def _kinds(measured: Iterable[Measured]) -> Table:
    table = Table(title="by kind of defect, the worst first", title_justify="left")
    for column in ("product", "kind of defect", "found"):
        table.add_column(column, justify="right" if column == "found" else "left")
    for one in measured:
        for at, (kind, rate) in enumerate(one.verdict.worst_first):
            table.add_row("" if at else escape(one.product), escape(kind), str(rate))
        table.add_section()
    return table


def _scores(measured: Iterable[Measured]) -> Table:
    table = Table(title="scores", title_justify="left")
    for column in ("product", "good", "defective", *FIGURES):
        justify = "left" if column == "product" else "right"
        table.add_column(column.replace("_", " "), justify=justify)
    for one in measured:
        figures = [number(one.figures.get(name, math.nan)) for name in FIGURES]
        table.add_row(escape(one.product), str(one.good), str(one.defective), *figures)
    return table


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
