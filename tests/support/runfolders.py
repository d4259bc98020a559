"""Run folders made by hand: open and private runs, with pictures or without."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.statement import privacy_report, statement
from fedpatchcore.server.runfolder import plain
from fedpatchcore.site.withholding import FROM_TRAINING
from fedpatchcore.wire.messages import BINS, ROC_POINTS, ProductResult, SectionStats

__all__ = ["HOSTILE", "add_pictures", "make_private", "make_run"]

HOSTILE = "<script>alert('1')</script>\"&x"


def product_result(product: str, rng: np.random.Generator, sites: int, **changes) -> ProductResult:
    good, bad = rng.normal(0.5, 0.05, 40), rng.normal(0.7, 0.1, 40)
    edges = np.linspace(0, 1.1, BINS + 1)
    found = {
        "good": 40,
        "defective": 40,
        "calibrated": 12,
        "image_auroc": 0.85 + 0.1 * rng.random(),
        "pixel_auroc": 0.9,
        "average_precision": 0.9,
        "threshold": 0.6,
        "promised_fpr": 1 / 13,
        "true_positives": 34,
        "false_positives": 3,
        "true_negatives": 37,
        "false_negatives": 6,
        "local_image_auroc": 0.8 + 0.1 * rng.random(),
        "local_pixel_auroc": 0.85,
        "histogram_top": 1.1,
        "roc": tuple(np.linspace(0, 1, ROC_POINTS) ** 0.2),
        "histogram_good": tuple(int(n) for n in np.histogram(good, edges)[0]),
        "histogram_defective": tuple(int(n) for n in np.histogram(bad, edges)[0]),
        "coverage": tuple(int(n) for n in rng.integers(0, 900, sites)),
    }
    return ProductResult(product, **(found | changes))


def make_run(
    folder: Path,
    sites: list[str],
    products: tuple[str, ...] = ("tile",),
    *,
    rounds: int = 1,
    pooled: bool = False,
    changes: dict | None = None,
    record_changes: dict | None = None,
    privacy: dict | None = None,
    settings: dict | None = None,
    scoring: dict | None = None,
) -> Path:
    rng = np.random.default_rng(0)
    history = []
    for number in range(1, rounds + 1):
        history.append(
            {
                "round": number,
                "train": {
                    site: {
                        "kind": "full" if number == 1 else "none",
                        "bytes": 1_228_800,
                        "extract_seconds": 12.5,
                        "select_seconds": 1.5,
                        "round_trip_seconds": 15.0 + at,
                        "sections": [
                            asdict(SectionStats(name, 60, 60, 7, 1, 59, 0, 43740, 400, 0.4))
                            for name in products
                        ],
                    }
                    for at, site in enumerate(sites)
                },
                "rejected": {},
                "lost": {},
                "absent": [],
                "notes": [],
                "bytes_down": 3_072_000,
                "sections": {
                    name: {
                        "rows": 4 * len(sites),
                        "radius": 0.5,
                        "flagged": 0,
                        "rejected_rows": 0,
                        "offered_rows": 400 * len(sites),
                        "sites": sites,
                    }
                    for name in products
                },
                "evaluate": {
                    site: {
                        "seconds": 4.0,
                        "notes": [],
                        "products": {
                            name: asdict(product_result(name, rng, len(sites), **(changes or {})))
                            for name in products
                        },
                    }
                    for site in sites
                },
            }
        )
    history[-1].update(record_changes or {})
    central = {"image_auroc": 0.91, "pixel_auroc": 0.93, "average_precision": 0.9}
    metrics = {
        "run": folder.name,
        "version": "0.1.0",
        "seconds": 75.4,
        "rounds": history,
        "pooled": {s: dict.fromkeys(products, central) for s in sites} if pooled else None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(plain(metrics)))
    config = RunConfig(coreset_size=400, out_dir=HOSTILE, **(settings or {})).table()
    (folder / "config.json").write_text(json.dumps(config))
    fingerprint = Fingerprint(
        architecture="squeezenet1_1",
        layers=("features.7", "features.12"),
        geometry="full",
        image_size=224,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        neighbourhood=3,
        layer_norm="unit",
        precision="float32",
        dimension=8,
        weights_sha256="ab" * 32,
    )
    sections = {
        name: Section(
            features=rng.random((4 * len(sites), 8), dtype=np.float32),
            origin=np.repeat(np.arange(len(sites), dtype=np.int32), 4),
            radius=0.5,
            images=dict.fromkeys(sites, 60),
        )
        for name in products
    }
    MemoryBank(
        fingerprint,
        sections,
        tuple(sites),
        rounds,
        "federated_coreset",
        thresholds={name: dict.fromkeys(sites, 0.6) for name in products},
        **({"privacy": privacy} if privacy else {}),
        **({"scoring": scoring} if scoring else {}),
    ).save(folder / "bank.safetensors")
    return folder


def add_pictures(run: Path, site: str, product: str, count: int = 1, folder: str = "") -> None:
    heatmaps = run / "sites" / (folder or site) / "heatmaps"
    heatmaps.mkdir(parents=True, exist_ok=True)
    entries = []
    for kind in ("best", "worst", "median"):
        for number in range(1, count + 1):
            name = f"{kind}-{number}.png"
            Image.new("RGB", (60, 20), (number % 255, 40, 90)).save(heatmaps / name)
            entries.append(
                {
                    "site": site,
                    "product": product,
                    "kind": kind,
                    "label": "crack",
                    "score": 0.9,
                    "threshold": None,
                    "file": name,
                    "image": f"{number}.png",
                }
            )
    (heatmaps / "cases.json").write_text(json.dumps(entries))


PRIVATE = {"dp": "cells", "dp_epsilon": 4.0, "dp_budget_epsilon": 8.0}


WITHHELD = ProductResult("tile")


def make_private(folder: Path, *, sites: tuple[str, ...] = ("a", "b"), **changes) -> Path:
    """A private run's folder: what `private_reply` and `withheld` leave of a round."""
    settings = PRIVATE | changes.pop("settings", {})
    config = RunConfig(**settings)
    note = {
        "mechanism": config.dp,
        "spent": 4.0,
        "left": 4.0,
        "budget": 8.0,
        "delta": 1e-5,
        "asked": 4.0,
        "releases": 1,
        "unprotected": 0,
        "protected": "",
        "begun": "2026-01-02T03:04:05+00:00",
    }
    ledgers = {site: LedgerNote(**(note | changes)) for site in sites}
    ledgers[sites[-1]] = ledgers[sites[-1]].model_copy(update={"again": True})
    kept = {name: getattr(WITHHELD, name) for name in FROM_TRAINING if name != "coverage"}
    run = make_run(
        folder,
        list(sites),
        changes=kept | {"coverage": (0,) * len(sites)},
        settings=settings,
        privacy=statement(config, ledgers),
    )
    metrics = json.loads((run / "metrics.json").read_text())
    for record in metrics["rounds"]:
        record["sections"]["tile"] |= {"noise_error": 0.2, "rejected_rows": 99, "offered_rows": 128}
        for site, told in record["train"].items():
            told |= {"kind": "sums", "extract_seconds": 0.0, "select_seconds": 0.0}
            told |= {"sections": [asdict(SectionStats("tile"))]}
            told |= {"privacy": ledgers[site].model_dump(mode="json")}
    (run / "metrics.json").write_text(json.dumps(metrics))
    told = privacy_report(config, ledgers, simulated=False)
    (run / "privacy.json").write_text(json.dumps(plain(told)))
    return run
