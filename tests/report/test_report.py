"""The report: right figures, nothing from outside unescaped, nothing fetched, any run shown."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import BankError, RunError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.metrics.comparison import best, comparison_rows, shown, used
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.statement import privacy_report, statement
from fedpatchcore.report.page import build_report
from fedpatchcore.server.acceptance import evaluate_record
from fedpatchcore.server.runfolder import plain
from fedpatchcore.site.withholding import FROM_TRAINING
from fedpatchcore.wire.messages import (
    BINS,
    COVERAGE_SITES,
    ROC_POINTS,
    EvaluateReply,
    ProductResult,
    SectionStats,
)

NAN = math.nan
HOSTILE = "<script>alert('1')</script>\"&x"


# -- a run folder made by hand ------------------------------------------------------


def product_result(product: str, rng: np.random.Generator, sites: int, **changes) -> ProductResult:
    good, bad = rng.normal(0.5, 0.05, 40), rng.normal(0.7, 0.1, 40)
    edges = np.linspace(0, 1.1, BINS + 1)
    found = {
        "good": 40,
        "defective": 40,
        "held_out": 12,
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


class Page(HTMLParser):
    """Tags, attributes and text of a page; checks that elements are closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run: Path) -> Page:
    target = build_report(run)
    assert target == run / "report.html"
    return Page(target.read_text(encoding="utf-8"))


# -- the page -----------------------------------------------------------------------


def test_says_what_ran_and_how_good_it_is(tmp_path):
    page = page_of(make_run(tmp_path / "demo", ["plant-a", "plant-b"], rounds=2, pooled=True))
    for words in (
        "2 sites built one memory bank",
        "squeezenet1_1, aggregation federated_coreset",
        "in 2 rounds",
        "75.4 s",
        "68 of 80 defects found, 6 of 80 good parts called defective, over 2 sites.",
        "Round 2",
        "nothing new",
        "2 sites sent 2.46 MB",
        "slowest: plant-b in 16.0 s",
        "Coresets are shipped without differential privacy",
        "coreset-size",
    ):
        assert words in page.words, words
    assert "Not everything went well" not in page.words


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("products", [("tile",), ("tile", "nut", "bolt")])
def test_any_number_of_sites(tmp_path, count, products):
    sites = [f"plant-{at:02d}" for at in range(count)]
    page = page_of(make_run(tmp_path / "run", sites, products, pooled=count == 2))
    assert ("all 50 sites" in page.words) == (count == 50)
    assert ("At a glance" in page.words) == (len(products) > 1)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"].removeprefix("#") for a in page.named("a")} == set(ids)
    assert page.words.count("plant-00") > 5


def test_everything_undefined_is_a_dash(tmp_path):
    nothing = dict.fromkeys(
        (
            "image_auroc",
            "pixel_auroc",
            "average_precision",
            "threshold",
            "local_image_auroc",
            "local_pixel_auroc",
        ),
        NAN,
    )
    nothing |= {"good": 0, "defective": 0, "held_out": 0, "promised_fpr": 1.0, "coverage": (0, 0)}
    nothing |= {"roc": (NAN,) * ROC_POINTS, "histogram_top": 0.0}
    nothing |= dict.fromkeys(("histogram_good", "histogram_defective"), (0,) * BINS)
    nothing |= {f"{a}_{b}": 0 for a in ("true", "false") for b in ("positives", "negatives")}
    page = page_of(make_run(tmp_path / "run", ["a", "b"], changes=nothing))
    assert not re.search(r"\bnan\b|\bNone\b", page.words)
    assert "No verdicts" in page.words and "no AUROC" in page.words
    assert "–" in page.words


def test_a_run_without_any_evaluation(tmp_path):
    page = page_of(make_run(tmp_path / "run", ["a", "b"], record_changes={"evaluate": {}}))
    assert "Memory bank" in page.words


def test_nothing_from_outside_is_markup(tmp_path):
    run = make_run(
        tmp_path / "run",
        [HOSTILE, "b"],
        (f"p{HOSTILE}", "q"),
        record_changes={
            "rejected": {f"r{HOSTILE}": f"reason{HOSTILE}"},
            "lost": {"l": HOSTILE},
            "absent": [HOSTILE],
            "notes": [HOSTILE],
        },
        privacy={"mechanism": HOSTILE, "epsilon": 1},
    )
    add_pictures(run, HOSTILE, f"p{HOSTILE}", folder="site")
    page = page_of(run)
    assert page.named("script") == []
    assert "<script" not in (run / "report.html").read_text()
    assert HOSTILE in page.words
    assert not [a for _, a in page.tags for name in a if name.startswith("on")]


def test_nothing_is_fetched(tmp_path):
    run = make_run(tmp_path / "run", ["a", "b"])
    add_pictures(run, "a", "tile")
    page = page_of(run)
    links = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href", "srcset")]
    assert links and all(v.startswith(("#", "data:image/jpeg;base64,")) for v in links)
    text = (run / "report.html").read_text()
    assert "@import" not in text and "url(" not in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not {"link", "iframe", "script", "object"} & {tag for tag, _ in page.tags}


def test_what_went_wrong_comes_first(tmp_path):
    wrong = {
        "rejected": {"plant-x": "section 'tile' holds NaN"},
        "lost": {"plant-y": "no reply within round-timeout (60 s)"},
        "absent": ["plant-z"],
        "notes": ["section 'nut' left out: too few sites"],
        "sections": {"tile": {"rows": 8, "flagged": 3, "rejected_rows": 5, "offered_rows": 16}},
    }
    page = page_of(make_run(tmp_path / "run", ["a", "b"], record_changes=wrong))
    for words in (
        "site plant-x was refused: section 'tile' holds NaN",
        "site plant-y was lost: no reply within round-timeout (60 s)",
        "site plant-z was absent: its last contribution stays in the bank",
        "section 'nut' left out: too few sites",
        "5 rows rejected",
        "3 rows rest on fewer sites",
    ):
        assert words in page.words, words
        assert page.words.index(words) < page.words.index("Configuration")


def test_long_lists_of_trouble_are_cut(tmp_path):
    lost = {f"plant-{at:02d}": "no reply" for at in range(30)}
    changes = {"lost": lost, "absent": ["plant-00"]}
    run = make_run(tmp_path / "run", ["a", "b"], record_changes=changes)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"keep-absent-sites": False}))
    page = page_of(run)
    assert page.words.count("was lost") == 20 and "and 10 more" in page.words
    assert "site plant-00 was absent: its rows left the bank" in page.words


def test_privacy_of_another_mechanism(tmp_path):
    told = {"mechanism": "image-level gaussian", "epsilon": 4.0, "delta": 1e-5}
    page = page_of(make_run(tmp_path / "run", ["a", "b"], privacy=told))
    assert "image-level gaussian" in page.words and "epsilon 4.0" in page.words
    assert "without differential privacy" not in page.words


# -- private runs ---------------------------------------------------------------------

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


def test_a_private_run_says_what_it_protects_and_what_not(tmp_path):
    words = page_of(make_private(tmp_path / "run")).words
    for told in (
        "Differential privacy of the federation: ε = 4 , δ = 1e-5, per image: the largest over",
        "One training image of one facility",
        "The run asked for ε = 4, δ = 1e-5, add/remove adjacency.",
        "a 4 4 8 1e-5 1 charged 2026-01-02 03:04",
        "b 4 4 8 1e-5 1 re-sent, not charged again",
        "releases over disjoint images do not.",
        "Covered by (ε, δ) the noisy sums each site sent",
        "Withheld: stays at the sites numbers of training",
        "Not covered test images and their defects",
        "99 of 128 cells did not rise above the noise",
        "noisy sums, no images",
    ):
        assert told in words, told
    assert "without differential privacy" not in words and "not privacy per image" not in words


def test_what_a_private_site_withholds_is_no_zero(tmp_path):
    words = page_of(make_private(tmp_path / "run")).words
    traffic = "noisy sums withheld withheld withheld – 1.23 MB withheld withheld 15.0 s withheld"
    assert f"a {traffic}" in words
    assert "Thresholds, verdicts, numbers of held-out images" in words
    assert "No verdicts" not in words and "no site held out" not in words
    assert "nearest to a site's training images is withheld" in words


def test_shared_metrics_are_shown(tmp_path):
    run = make_private(tmp_path / "run", settings={"dp_share_metrics": True})
    words = page_of(run).words
    assert "Thresholds, verdicts" not in words and "Withheld: stays" not in words
    assert "dp-share-metrics=true: thresholds" in words
    assert "noisy sums withheld withheld withheld – 1.23 MB withheld withheld 15.0 s 4.0 s" in words


def test_per_vector_is_not_called_privacy_per_image(tmp_path):
    settings = {"dp": "per-vector", "dp_budget_epsilon": 1e6}
    run = make_private(tmp_path / "run", settings=settings, spent=54321.0, unprotected=2)
    words = page_of(run).words
    assert "This is not privacy per image." in words
    assert "For one image, what holds is ε = 54,321 , δ = 1e-5" in words
    assert "of a coreset, once it was selected, with ε = 4." in words
    assert "without noise in other runs, by their ledgers: a (2 times), b (2 times)" in words
    assert "Differential privacy of the federation" not in words


def test_an_infinite_loss_is_said(tmp_path):
    run = make_private(tmp_path / "run", spent=math.inf, left=0.0)
    assert "ε = ∞" in page_of(run).words


def test_a_private_bank_without_its_report_shows_its_header(tmp_path):
    run = make_private(tmp_path / "run")
    (run / "privacy.json").unlink()
    words = page_of(run).words
    assert "what protects the training images" in words and "mechanism cells" in words
    (run / "privacy.json").write_text("{")
    with pytest.raises(RunError, match=r"privacy\.json"):
        build_report(run)


# -- robustness -----------------------------------------------------------------------


def test_sites_that_stand_out_are_shown_with_their_reason(tmp_path):
    sites = ["a", "b", "c", "d"]
    settings = {"robustness_enabled": True, "min_sites": 3, "on_outlier": "exclude"}
    changes = {
        "site_scores": {"tile": {"a": 0.1, "b": -0.4, "c": 37.2, "d": 4.5}},
        "outliers": {"c": f"section 'tile': too far {HOSTILE}", "d": "section 'tile': far"},
    }
    facts = {"rows": 9, "flagged": 0, "rejected_rows": 0, "offered_rows": 9, "sites": ["a", "d"]}
    changes["sections"] = {"tile": facts}
    run = make_run(tmp_path / "run", sites, record_changes=changes, settings=settings)
    page = page_of(run)
    for told in (
        "modified z-score of tile verdict a 0.1 like the others b -0.4 like the others",
        "c 37.2 left out d 4.5 stands out",
        f"c : section 'tile': too far {HOSTILE}",
        "site c was left out as an outlier: section 'tile'",
        "site d stands out, but was admitted: section 'tile': far",
        "Beyond 3.5 a site stands out",
    ):
        assert told in page.words, told
    assert page.named("script") == []


def test_a_bank_scored_by_vote_says_so(tmp_path):
    votes = {"neighbours": 1, "reweight": 0, "votes": 2}
    settings = {"robustness_enabled": True, "min_sites": 3, "density_filter": 0.15}
    words = page_of(make_run(tmp_path / "run", ["a", "b"], scoring=votes, settings=settings)).words
    assert "the second smallest of its distances" in words
    assert "takes 2 sites that know such a patch" in words
    assert "1 faulty site among them" in words
    assert "loneliest 15.0 % of its patches" in words
    assert "no section was made at three" in words
    assert "Robustness" not in page_of(make_run(tmp_path / "other", ["a", "b"])).words


def test_a_rehearsed_attack_is_announced(tmp_path):
    settings = {"attack": "sign_flip", "malicious_fraction": 0.2}
    words = page_of(make_run(tmp_path / "run", ["a", "b"], settings=settings)).words
    told = "attack rehearsal: sign_flip by 20 % of the sites"
    assert told in words and words.index(told) < words.index("mean image AUROC")
    assert "attack rehearsal" not in page_of(make_run(tmp_path / "other", ["a", "b"])).words


# -- hybrid ---------------------------------------------------------------------------


def test_the_hybrid_is_compared_where_it_was_measured(tmp_path):
    changes = {"hybrid_image_auroc": 0.97, "hybrid_pixel_auroc": 0.96}
    run = make_run(tmp_path / "run", ["a", "b"], ("tile", "nut"), changes=changes)
    page = page_of(run)
    assert "Alone, federated, hybrid, pooled" in page.words
    assert (
        "the smaller of the distances to the site's own bank and to the global bank" in page.words
    )
    assert "hybrid 0.970" in page.words and "0.960" in page.words
    assert len([a for a in page.named("span") if a.get("class") == "key hybrid"]) == 6
    assert "hybrid, a: 0.970" in page.words
    without = page_of(make_run(tmp_path / "other", ["a", "b"], ("tile", "nut")))
    assert "Hybrid" not in without.words and "Alone, federated, pooled" in without.words
    assert {"class": "key hybrid"} not in without.named("span")


# -- pictures -----------------------------------------------------------------------


def test_without_pictures_it_says_where_they_are(tmp_path):
    run = make_run(tmp_path / "night-3", ["a", "b"])
    page = page_of(run)
    assert "Pictures of single images stay at the sites." in page.words
    assert "night-3/heatmaps" in page.words
    assert not (run / "heatmaps").exists() and not page.named("img")


def test_pictures_are_copied_and_shown(tmp_path):
    run = make_run(tmp_path / "run", ["a", "b"])
    add_pictures(run, "a", "tile")
    add_pictures(run, "b", "tile")
    page = page_of(run)
    assert len(page.named("img")) == 6
    names = {f"{s}-{k}-1.png" for s in "ab" for k in ("best", "worst", "median")}
    assert {p.name for p in (run / "heatmaps").iterdir()} == names
    (run / "heatmaps" / "a-old-1.png").write_bytes(b"of an earlier round")
    build_report(run)
    assert {p.name for p in (run / "heatmaps").iterdir()} == names


def test_many_pictures_share_the_page_and_every_site_has_its_turn(tmp_path):
    sites = [f"s{at}" for at in range(40)]
    run = make_run(tmp_path / "run", sites)
    for site in sites:
        add_pictures(run, site, "tile", count=2)
    page = page_of(run)
    assert len(page.named("img")) == 150
    assert "30 more in the folder heatmaps" in page.words
    assert len(list((run / "heatmaps").iterdir())) == 240


def test_damaged_listings_and_pictures_do_no_harm(tmp_path):
    run = make_run(tmp_path / "run", ["a", "b"])
    add_pictures(run, "a", "tile")
    heatmaps = run / "sites" / "a" / "heatmaps"
    (heatmaps / "best-1.png").write_bytes(b"not a picture")
    (heatmaps / "worst-1.png").unlink()
    entries = json.loads((heatmaps / "cases.json").read_text())
    entries += [{"file": "median-1.png"}, {"file": "../../../metrics.json", "kind": "best"}, 7]
    (heatmaps / "cases.json").write_text(json.dumps(entries))
    (run / "sites" / "b" / "heatmaps").mkdir(parents=True)
    (run / "sites" / "b" / "heatmaps" / "cases.json").write_text("{")
    assert len(page_of(run).named("img")) == 1


# -- refusals -----------------------------------------------------------------------


def test_refuses_what_is_no_run_folder(tmp_path):
    with pytest.raises(RunError, match=r"is this the folder of a run\?"):
        build_report(tmp_path)
    run = make_run(tmp_path / "run", ["a", "b"])
    (run / "bank.safetensors").unlink()
    with pytest.raises(BankError):
        build_report(run)
    for text in ("{", "[]"):
        (run / "metrics.json").write_text(text)
        with pytest.raises(RunError, match=r"metrics\.json"):
            build_report(run)


# -- comparison ---------------------------------------------------------------------


def _metrics(evaluate: dict, pooled: dict | None = None) -> dict:
    return {"rounds": [{"round": 1, "evaluate": evaluate}], "pooled": pooled}


def _told(**products: dict) -> dict:
    return {"products": products}


def test_comparison_rows_by_hand():
    metrics = _metrics(
        {
            "b": _told(tile={"image_auroc": 0.9, "local_image_auroc": 0.7, "pixel_auroc": 0.8}),
            "a": _told(
                tile={"image_auroc": 0.8, "local_image_auroc": 0.9, "good": 5, "defective": 6},
                nut={"image_auroc": 1.0, "local_image_auroc": None},
            ),
        },
        {"a": {"tile": {"image_auroc": 0.95}}, "b": {"tile": {"image_auroc": 0.85}}},
    )
    rows = comparison_rows(metrics)
    assert [(r["product"], r["site"], r["kind"]) for r in rows] == [
        ("nut", "a", "site"),
        ("nut", "mean", "mean"),
        ("nut", "worst", "worst"),
        ("tile", "a", "site"),
        ("tile", "b", "site"),
        ("tile", "mean", "mean"),
        ("tile", "worst", "worst"),
    ]
    a, _, mean, worst = rows[3:]
    assert (a["local"], a["federated"], a["pooled"]) == (0.9, 0.8, 0.95)
    assert (a["good"], a["defective"]) == (5, 6)
    assert mean["local"] == pytest.approx(0.8) and mean["federated"] == pytest.approx(0.85)
    assert mean["pooled"] == pytest.approx(0.9) and mean["sites"] == 2
    assert (worst["local"], worst["federated"], worst["pooled"]) == (0.7, 0.8, 0.85)
    assert math.isnan(mean["hybrid"]) and math.isnan(a["hybrid_pixel"])
    assert mean["federated_pixel"] == 0.8 and math.isnan(mean["local_pixel"])
    assert math.isnan(rows[0]["local"]) and rows[1]["federated"] == 1.0


def test_means_rest_on_the_same_sites_in_every_column():
    metrics = _metrics(
        {
            "a": _told(tile={"image_auroc": 0.9, "local_image_auroc": 0.8}),
            "new": _told(tile={"image_auroc": 0.5, "local_image_auroc": None}),
        }
    )
    mean = comparison_rows(metrics)[2]
    assert (mean["local"], mean["federated"], mean["sites"]) == (0.8, 0.9, 1)


def test_the_hybrid_is_a_column_like_the_others():
    hybrid = {"hybrid_image_auroc": 0.95, "hybrid_pixel_auroc": 0.8}
    metrics = _metrics(
        {
            "a": _told(tile={"image_auroc": 0.9, "local_image_auroc": 0.8, **hybrid}),
            "b": _told(tile={"image_auroc": 0.5, "local_image_auroc": 0.6}),
        }
    )
    a, b, mean, _ = comparison_rows(metrics)
    assert (a["hybrid"], a["hybrid_pixel"], mean["hybrid"]) == (0.95, 0.8, 0.95)
    assert math.isnan(b["hybrid"]) and mean["sites"] == 1
    assert best(a) == {"hybrid"}
    assert used([a, b], "hybrid") and not used([b], "hybrid")


def test_the_last_round_that_was_evaluated_counts():
    metrics = _metrics({"a": _told(tile={"image_auroc": 0.9})})
    metrics["rounds"].append({"round": 2, "evaluate": {}})
    assert comparison_rows(metrics)[0]["federated"] == 0.9
    assert comparison_rows({"rounds": []}) == []


def test_best_of_a_row_is_judged_as_printed():
    row = {"local": 0.9, "federated": 0.95012, "pooled": 0.95049}
    assert best(row) == {"federated", "pooled"}
    assert best({"local": NAN, "federated": 0.9, "pooled": NAN}) == set()
    assert shown(NAN) == shown(None) == "–"
    assert shown(0.98765) == "0.988"


def test_the_record_of_many_sites_grows_with_their_number(tmp_path: Path) -> None:
    """Who covers whom is sites × sites counts; of many sites each keeps its own and the largest."""

    def record(count: int, own: int) -> dict:
        sites = [f"site-{at:04d}" for at in range(count)]
        counts = tuple(range(1, count + 1))
        result = ProductResult("plate", coverage=counts)
        return evaluate_record(EvaluateReply(sites[own], (result,)), sites)["products"]["plate"]

    assert record(COVERAGE_SITES, 3)["coverage"] == tuple(range(1, COVERAGE_SITES + 1))
    assert record(61, 3)["coverage"] == {
        "patches": 61 * 31,
        "sites": {"site-0003": 4} | {f"site-{at:04d}": at + 1 for at in (60, 59, 58, 57, 56)},
    }
    small, large = (len(json.dumps(record(count, 3))) for count in (100, 1000))
    assert large < small + 50


def test_a_shortened_record_is_reported_as_a_whole_one(tmp_path: Path) -> None:
    sites = [f"site-{at:04d}" for at in range(150)]
    counts = (0,) * 7 + (300, 100) + (0,) * 141
    rows = []
    for name, coverage in (
        ("whole", counts),
        ("shortened", {"patches": 400, "sites": {"site-0008": 100, "site-0007": 300}}),
    ):
        folder = make_run(tmp_path / name, sites, changes={"coverage": coverage})
        text = build_report(folder).read_text()
        table = text[text.index('id="coverage"') : text.index('id="bank"')]
        rows.append(table[table.rindex("site-0008") :])
    assert rows[0] == rows[1]


def test_the_servers_memory_is_told(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", ["a", "b"])
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["rounds"][-1]["memory"] = {"merge": 1_234_000_000, "merge_cuda": 0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert (
        "merging took at most 1.23 GB of memory at the server" in build_report(folder).read_text()
    )


def test_a_thousand_sites_are_told_without_a_million_cells(tmp_path: Path) -> None:
    """Coverage is sites × sites: the report must not grow with the square."""
    sites = [f"site-{at:04d}" for at in range(150)]
    counts = (0,) * 7 + (300, 100) + (0,) * 141
    folder = make_run(tmp_path / "run", sites, changes={"coverage": counts})
    text = build_report(folder).read_text()
    coverage = text[text.index('id="coverage"') : text.index('id="bank"')]
    assert len(coverage) < 150 * 250
    row = coverage[coverage.rindex("site-0008") :]
    cells = re.findall(r"<td[^>]*>(?:<[^>]*>)?([^<]*)", row)[:4]
    assert cells == ["25 %", "75 %", "site-0007", "75 %"]
