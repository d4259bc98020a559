"""Commands on bank files and on weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fedpatchcore.cli.bank_figures import figures_of, figures_table
from fedpatchcore.cli.common import BankFile, Overrides, console, number, to_config
from fedpatchcore.cli.pulling import pull_bank
from fedpatchcore.data.amounts import images_told
from fedpatchcore.errors import WeightsError
from fedpatchcore.features.backbones.registry import family_of

if TYPE_CHECKING:
    import numpy as np

    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.bank.section import Section

__all__ = ["bank", "weights"]

bank = typer.Typer(no_args_is_help=True, help="Look into, check, compare or pull bank files.")
bank.command("pull")(pull_bank)
weights = typer.Typer(no_args_is_help=True, help="Find, check or import backbone weights.")


RADII = {
    "alone": "of a single site's section: every patch that taught lies within it of a row",
    "together": "of several sites' section: every row that a site offered lies within it of a row",
    "noise": "the error that noise is expected to leave in a row; 0: a row of the codebook itself",
}


@bank.command("inspect")
def inspect_bank(file: BankFile) -> None:
    """What a bank holds: features, sections, sites, thresholds, privacy."""
    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.metrics.promises import Promise

    found = MemoryBank.load(file)
    features = found.fingerprint
    console.print(f"[bold]{file}[/] ({file.stat().st_size / 1e6:.1f} MB), round {found.round}")
    layers = ", ".join(features.layers)
    console.print(f"features    {features.architecture} {layers}, D={features.dimension}")
    console.print(
        f"            {features.geometry} {features.image_size} px, neighbourhood "
        f"{features.neighbourhood}, layer norm {features.layer_norm}"
    )
    console.print(f"weights     sha256 {features.weights_sha256}")
    console.print(f"aggregation {found.aggregation}")
    kept = ", figures and thresholds kept at the sites" * bool(found.privacy.get("secure_figures"))
    console.print(f"privacy     {found.privacy.get('mechanism', '?')}{kept}")
    table = Table()
    for column in ("section", "rows", "radius", "flagged", "site", "taught", "rows ", "threshold"):
        left = column in ("section", "site")
        table.add_column(column, justify="left" if left else "right")
    private, meant = found.privacy.get("mechanism", "off") != "off", set()
    for part in found.header()["sections"]:
        merged = "(merged)" in part["rows_by_site"]
        alone = len(part["rows_by_site"]) == 1 and not merged and not private
        radius = part["covers"] if alone else part["radius"]
        meant.add("alone" if alone else "noise" if private and merged else "together")
        first = [part["name"], f"{part['rows']:,}", f"{radius:.4g}", str(part["flagged"])]
        limits = found.thresholds.get(part["name"], {})
        names = sorted({*part["images"], *part["rows_by_site"], *limits}) or ["–"]
        for site in names:
            table.add_row(
                *first,
                site,
                str(part["images"].get(site, "–")),
                str(part["rows_by_site"].get(site, "–")),
                number(limits.get(site), 4),
            )
            first = ["", "", "", ""]
    console.print(table)
    for name, sites in found.calibration.items():
        for site, told in sites.items():
            told = Promise.of_bank(told).worth
            console.print(f"{name}, {site}: threshold rests on {told}", markup=False)
    for name, sites in found.excluded.items():
        for site, count in sites.items():
            console.print(
                f"{name}, {site}: {images_told(count)} excluded from training", markup=False
            )
    for kind in RADII:
        if kind in meant:
            console.print(f"radius: {RADII[kind]}")


@bank.command("verify")
def verify_bank(
    file: BankFile,
    weights_file: Annotated[
        str, typer.Option("--weights", help="Also check that these weights fit the bank.")
    ] = "",
) -> None:
    """Check that a file is a whole, consistent bank; with --weights also that it can be used."""
    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.detection.detector import PatchCore

    found = MemoryBank.load(file)
    console.print(f"[green]✓[/] {file}: {len(found):,} rows in {len(found.sections)} section(s)")
    if weights_file or not family_of(found.fingerprint.architecture).needs_weights:
        PatchCore.load(file, weights=weights_file)
        console.print("[green]✓[/] the backbone here computes the features of this bank")


@bank.command("compare")
def compare_banks(
    first: BankFile, second: Annotated[Path, typer.Argument(help="The other bank.")]
) -> None:
    """How far apart two banks are: for each section, how well each covers the other's rows.

    Of banks that lie in the folders of their runs also what the tests gave, and how evenly their
    sites are served.

    Exit code 0 if all rows are equal, 1 otherwise.
    """
    import numpy as np

    from fedpatchcore.bank.memory_bank import MemoryBank
    from fedpatchcore.bank.section import measure_alike

    a, b = MemoryBank.load(first), MemoryBank.load(second)
    _print_figures((first, a), (second, b))
    a.fingerprint.require(b.fingerprint, ours=str(first), theirs=str(second))
    table = Table()
    for column in ("section", "rows", "rows (other)", "equal", "distance →", "distance ←"):
        table.add_column(column, justify="left" if column == "section" else "right")
    same = set(a.sections) == set(b.sections)
    for name in sorted(set(a.sections) | set(b.sections)):
        if name not in a.sections or name not in b.sections:
            table.add_row(name, *("–" if name not in x.sections else "only" for x in (a, b)))
            continue
        one, other = a.sections[name], b.sections[name]
        x, y = one.features, other.features
        equal = bool(np.array_equal(x, y)) and measure_alike(one.lens, other.lens)
        same &= equal
        ways = ("0", "0") if equal else (_farthest(x, other), _farthest(y, one))
        table.add_row(name, f"{len(x):,}", f"{len(y):,}", "yes" if equal else "no", *ways)
    console.print(table)
    console.print("→: farthest row of the first bank from the second, L2; ←: the other way")
    sections = [*a.sections.values(), *b.sections.values()]
    if any(part.by_metric for part in sections):
        console.print("distances are by the metric of the bank that is measured to, as its scores")
    raise typer.Exit(0 if same else 1)


def _print_figures(*banks: tuple[Path, MemoryBank]) -> None:
    """Of two banks with their files: what their runs measured, or why that cannot be shown."""
    told = [figures_of(file, bank) for file, bank in banks]
    reasons = [reason for _, reason in told if reason]
    if reasons:
        for reason in dict.fromkeys(reasons):
            console.print(reason, markup=False)
    elif (table := figures_table(*(rows for rows, _ in told))) is not None:
        console.print(table)
    else:
        console.print("no site and product was tested with both banks: no figures to compare")


def _farthest(rows: np.ndarray, bank: Section) -> str:
    """Largest distance of a row to the bank, as the bank's scores measure it."""
    from fedpatchcore.detection.scoring import Scorer

    scores = Scorer(bank.features, **bank.lens)(rows[:, None, None])
    return f"{max(one.max() for one in scores.patches):.4g}"


@weights.command("list")
def list_weights(
    backbone: Annotated[str, typer.Argument(help="torchvision network.")] = "wide_resnet50_2",
) -> None:
    """Every place that is looked at for a backbone's weights, in order, and what is there."""
    from fedpatchcore.features.backbones.weights import candidates

    if not family_of(backbone).needs_weights:
        console.print(f"backbone '{backbone}' needs no weights")
        return
    table = Table()
    for column in ("", "file", "place"):
        table.add_column(column)
    for place in candidates(backbone):
        table.add_row("[green]✓[/]" if place.path.is_file() else "–", str(place.path), place.source)
    console.print("the first file found is used; a file that is named comes before all")
    console.print(table)


@weights.command("check")
def check_weights(overrides: Overrides = None) -> None:
    """Build the backbone that the settings name and print its fingerprint.

    Example: fedpatchcore weights check -c backbone=resnet18 -c weights=resnet18.pth
    """
    from fedpatchcore.features.backbone import build_backbone

    backbone = build_backbone(to_config(overrides))
    console.print(f"[green]✓[/] {backbone.source}")
    for key, value in backbone.fingerprint.model_dump(mode="json").items():
        console.print(f"  {key:15} {value}")
    console.print(f"  {'fingerprint':15} {backbone.fingerprint.digest}")


@weights.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="State dict: .pth or .safetensors.")],
    backbone: Annotated[str, typer.Option(help="The network it belongs to.")],
) -> None:
    """Check a weights file and copy it to where it will be found from now on."""
    from fedpatchcore.features.backbones.weights import import_weights

    if not file.is_file():
        raise WeightsError(f"weights file {file} does not exist")
    console.print(f"[green]✓[/] imported to {import_weights(file, backbone)}")
