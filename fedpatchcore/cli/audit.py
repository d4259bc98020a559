"""Commands that attack what protects the images, to see whether it does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fedpatchcore.cli.audit_images import listed, patches_of, require_disjoint, spread
from fedpatchcore.cli.audit_told import tell_mechanism
from fedpatchcore.cli.common import BankFile, Device, Overrides, console, finite, to_config
from fedpatchcore.errors import ConfigError
from fedpatchcore.privacy.settings import KINDS, TRAINED
from fedpatchcore.spelling import nearest

if TYPE_CHECKING:
    import numpy as np


__all__ = ["audit"]

AUDITED = (*KINDS, TRAINED)
CELLS, DIMENSIONS = 16, 8
FRESH = 1000  # patches of other images that serve as yardstick

audit = typer.Typer(
    no_args_is_help=True,
    help="Attack a bank or a privacy mechanism, and compare with what it claims.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, no table.")]
Confidence = Annotated[
    float,
    typer.Option(
        callback=finite,
        help="Chance, at least, that what the audit shows is true.",
    ),
]


@audit.command("bank")
def audit_bank(
    file: BankFile,
    members: Annotated[Path, typer.Option(help="Folder of images the bank was made of.")],
    others: Annotated[
        Path,
        typer.Option(help="Folder of comparable images that it was not made of; 1,000 or more."),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(
            help="A third folder, in neither of the two: tells images that are near to any bank "
            "from those that are near to this one."
        ),
    ] = None,
    product: Annotated[str, typer.Option(help="Section of the bank, if it has several.")] = "",
    weights: Annotated[str, typer.Option(help="Weights file, if not found by itself.")] = "",
    device: Device = "auto",
    confidence: Confidence = 0.99,
    as_json: AsJson = False,
) -> None:
    """Can someone who holds a bank tell which images it was made of?

    Membership: each image's distance to the bank accuses it. AUROC 0.5 is guessing; what counts
    is how many members are found at 0.1% and 1% of wrong accusations. "ε at least" takes images
    as independent and as put into the two folders at random: comparable images, several views of
    one part in one folder. Reconstruction: is a row of the bank a training patch?

    Exit code 0 if nothing contradicts what the bank claims (a bank without privacy claims
    nothing), 1 if it exposes more, 2 on an error.
    """
    import numpy as np

    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.coreset.greedy import greedy_k_center
    from fedpatchcore.detection.detector import config_of
    from fedpatchcore.detection.search import NearestNeighbours
    from fedpatchcore.detection.view import View
    from fedpatchcore.features.backbone import build_backbone
    from fedpatchcore.features.extraction import Extractor
    from fedpatchcore.privacy.audit.findings import bank_verdict, claim_of, contradicts, plain
    from fedpatchcore.privacy.audit.membership import attack_scores, image_statistics, membership
    from fedpatchcore.privacy.audit.reconstruction import reconstruction
    from fedpatchcore.privacy.audit.refutation import epsilon_lower_bound

    bank = MemoryBank.load(file)
    section = bank.section(bank.product(product))
    rows = section.features
    seen_by_bank = View(rows, **section.lens)
    groups = {"members": listed(members), "others": listed(others)}
    if reference:
        groups["reference"] = listed(reference)
    require_disjoint(groups)
    tool = Extractor(build_backbone(config_of(bank, weights=weights, device=device)))
    indices = [NearestNeighbours(seen_by_bank.rows)]
    if reference:
        known = np.concatenate(list(patches_of(tool, groups["reference"], "reference")))
        chosen = known[greedy_k_center(known, len(rows)).indices]
        indices.append(NearestNeighbours(seen_by_bank(chosen)))
        del known
    found: dict[str, list] = {"members": [], "others": []}

    def seen(kind: str) -> Iterator[np.ndarray]:
        for patches in patches_of(tool, groups[kind], kind):
            near = seen_by_bank(patches)
            found[kind].append([image_statistics(of, near) for of in indices])
            yield patches

    some = math.ceil(FRESH / len(groups["others"]))
    fresh = np.concatenate([x[:: max(1, len(x) // some)][:some].copy() for x in seen("others")])
    copied = reconstruction(rows, seen("members"), fresh)
    scores = {kind: attack_scores(*_by_bank(found[kind])) for kind in found}
    claim = claim_of(bank.privacy)
    level = 1 - (1 - confidence) / len(scores["members"])
    result = {
        name: (
            membership(inside, scores["others"][name], confidence=confidence),
            epsilon_lower_bound(
                _shuffled(inside),
                _shuffled(scores["others"][name]),
                delta=claim.delta,
                confidence=level,
            ),
        )
        for name, inside in scores["members"].items()
    }
    contradicted = contradicts(claim, result, copied)
    verdict = bank_verdict(claim, result, copied)
    if as_json:
        told = {
            "bank": str(file),
            "claim": asdict(claim),
            "attacks": {
                name: {**asdict(found), "epsilon": asdict(bound)}
                for name, (found, bound) in result.items()
            },
            "reconstruction": asdict(copied),
            "contradicted": contradicted,
            "verdict": verdict,
        }
        print(json.dumps(plain(told)))
    else:
        console.print(f"[bold]{file}[/] claims: {claim}")
        console.print(_attack_table(result))
        for reason in {r.reason for found, _ in result.values() for r in found.rates if r.reason}:
            console.print(f"–: {reason}")
        console.print(
            f"rows of the bank that are a member's patch: {copied.copies:.1%} of {copied.rows:,}; "
            f"median distance to one: {copied.ratio:.3g} of that of a fresh image's patch"
        )
        console.print(verdict, soft_wrap=True)
    raise typer.Exit(1 if contradicted else 0)


@audit.command("mechanism")
def audit_one(
    kind: Annotated[str, typer.Argument(metavar="|".join(AUDITED), help="What is audited.")],
    images: Annotated[
        Path | None, typer.Argument(help="Folder of images; default the synthetic sample.")
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option(
            callback=finite,
            help="What the mechanism is set to.",
        ),
    ] = 1.0,
    delta: Annotated[float, typer.Option(callback=finite, help="Its δ.")] = 1e-5,
    runs: Annotated[
        int,
        typer.Option(
            help="Releases with the canary, and as many without; more show more; 0: 20,000, and "
            "1,000 of sgd, each of which is a training."
        ),
    ] = 0,
    confidence: Confidence = 0.999,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Run a mechanism many times with and without one worst-case image: which ε shows?

    The attacker knows every other image and asks only whether this one was in. What so many runs
    refute is a lower bound on ε: above the claim, the claim is wrong. The ceiling is the most
    that so many runs could ever show. Runs on a small codebook, with the filter bank backbone
    unless -c says otherwise.

    Exit code 0 if nothing contradicts the claim (raw claims nothing), 1 if it exposes more, 2 on
    an error. Example: fedpatchcore audit mechanism per-vector --epsilon 1
    """
    import numpy as np

    from fedpatchcore.features.backbone import build_backbone
    from fedpatchcore.features.extraction import Extractor
    from fedpatchcore.privacy.audit.canaries import audit_mechanism
    from fedpatchcore.privacy.codebook import public_codebook
    from fedpatchcore.site.virtual import sample_folder

    if kind not in AUDITED:
        raise ConfigError(
            f"unknown mechanism '{kind}': one of {', '.join(AUDITED)}{nearest(kind, AUDITED)}"
        )
    runs = runs or (1000 if kind == TRAINED else 20_000)
    if kind == TRAINED:
        from fedpatchcore.learned.audit import audit_training

        how = {"epsilon": epsilon, "delta": delta, "runs": runs, "confidence": confidence}
        with console.status(f"{2 * runs:,} trainings"):
            result = audit_training(**how)
        tell_mechanism(result, runs, confidence, as_json=as_json)
    config = to_config(overrides, backbone="filterbank", geometry="full")
    tool = Extractor(build_backbone(config), batch_size=config.batch_size)
    sample = sample_folder(5)
    public = sorted(sample.glob("plant-b/*/train/good/*.png"))
    base = listed(images) if images else sorted(sample.glob("plant-a/*/train/good/*.png"))
    patches = np.concatenate(list(patches_of(tool, spread(public), "public images")))
    codebook = public_codebook(patches, CELLS, DIMENSIONS, seed=0, source="the synthetic sample")
    known = list(patches_of(tool, spread(base), "images"))
    with console.status(f"{2 * runs:,} releases"):
        result = audit_mechanism(
            kind,
            known,
            codebook,
            epsilon=epsilon,
            delta=delta,
            runs=runs,
            confidence=confidence,
        )
    tell_mechanism(result, runs, confidence, as_json=as_json)


def _by_bank(found: list) -> tuple[np.ndarray, ...]:
    """Statistics in the bank ``[n, 2]`` and, if there is one, in the reference."""
    import numpy as np

    return tuple(np.stack(found, axis=1))


def _shuffled(scores: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.random.default_rng(0).permutation(scores)


def _attack_table(result: Mapping) -> Table:
    from fedpatchcore.privacy.audit.findings import figure

    table = Table("attack", "members", "others", "AUROC")
    for column in ("found at 0.1%", "found at 1%", "ε at least"):
        table.add_column(column)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (found, bound) in result.items():
        rates = (
            "–" if r.reason else f"{r.true_positive:.1%} ({r.low:.1%} to {r.high:.1%})"
            for r in found.rates
        )
        table.add_row(
            name,
            str(found.members),
            str(found.others),
            f"{found.auroc:.3f} ({found.low:.3f} to {found.high:.3f})",
            *rates,
            f"{figure(bound.epsilon)} (ceiling {figure(bound.ceiling)})",
        )
    return table
