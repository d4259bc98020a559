"""What a site may say rests on what it gave: replies refused by name, the others go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.contribution import MAX_IMAGES, Contribution, Part
from fedpatchcore.bank.store import Contributions
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, CoresetError, RunError
from fedpatchcore.report.page import build_report
from fedpatchcore.server import merging
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.story import NOTES_OF_A_RUN, NOTES_OF_A_SITE, room_for_notes
from fedpatchcore.wire.messages import (
    BINS,
    EvaluateReply,
    ProductResult,
    SectionStats,
    SiteFacts,
    TrainReply,
)
from tests.support.fingerprints import fingerprint
from tests.support.runfolders import make_run

SITES = ("north", "south", "west")


def rows(count: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).random((count, 8), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def train(site: str, *sections: str, count: int = 5, images: int = 6, **changes) -> TrainReply:
    parts = {name: Part(rows(count), images, 500, 0.5) for name in sections}
    stats = tuple(
        replace(SectionStats(name, images, images, 0, patches=500, rows=count), **changes)
        for name in sections
    )
    given = Contribution(site, fingerprint(dimension=8, layers=("a",)), parts) if parts else None
    return TrainReply(site, "full" if parts else "none", given, stats)


def result(product: str, **changes) -> ProductResult:
    told = {"calibrated": 6, "groups": 6, "threshold": 0.4, "coverage": (0, 0, 0)}
    return ProductResult(product, **(told | changes))


@pytest.fixture
def federation() -> Federation:
    """Three sites gave rows of "plate"; the first alone of "ring" too."""
    made = Federation(RunConfig(coreset_size=5, min_sites=1, max_products=50))
    for site in SITES:
        made.accept(train(site, "plate", *(["ring"] if site == "north" else [])))
    made.merge(1)
    return made


def test_no_threshold_of_a_product_that_the_site_does_not_make(federation: Federation) -> None:
    with pytest.raises(CoresetError, match="site 'south' tells a threshold of 'ring'"):
        federation.evaluated(EvaluateReply("south", (result("plate"), result("ring"))))
    with pytest.raises(CoresetError, match="site 'stranger' tells a threshold of 'plate'"):
        federation.evaluated(EvaluateReply("stranger", (result("plate"),)))
    for site in SITES:
        more = [result("ring")] if site == "north" else []
        federation.evaluated(EvaluateReply(site, (result("plate"), *more)))
    federation.close(1)
    assert set(federation.bank.thresholds["ring"]) == {"north"}
    assert set(federation.bank.thresholds["plate"]) == set(SITES)


def test_tests_of_what_others_make_are_welcome_without_a_threshold(federation: Federation) -> None:
    plain = ProductResult("ring", coverage=(0, 0, 0))
    federation.evaluated(EvaluateReply("south", (plain,)))
    assert "south" in federation.story.evaluated


def test_a_site_that_was_late_with_its_rows_keeps_its_figures_and_moves_no_threshold() -> None:
    """Its train reply was lost; its threshold is its own, and no part of the bank's median."""
    made = Federation(RunConfig(coreset_size=5, min_sites=1))
    print_ = fingerprint(dimension=8, layers=("a",)).to_json()
    facts = [SiteFacts(s, ("plate", "ring"), (6, 0), (3, 3), "cpu", print_, "") for s in SITES]
    made.given.named(facts)
    for site in ("north", "south"):
        made.accept(train(site, "plate"))
    made.lose("west", "no reply within round-timeout")
    made.merge(1)
    for site, threshold in (("north", 0.4), ("south", 0.5), ("west", 9e9)):
        told = result("plate", coverage=(0, 0), threshold=threshold)
        made.evaluated(EvaluateReply(site, (told,)))
    record = made.close(1)
    assert set(record["evaluate"]) == set(SITES)
    assert record["evaluate"]["west"]["products"]["plate"]["threshold"] == 9e9
    assert "threshold of plate is in no bank" in record["evaluate"]["west"]["notes"][-1]
    assert made.bank.thresholds["plate"] == {"north": 0.4, "south": 0.5}
    assert made.bank.threshold("plate") == pytest.approx(0.45)
    with pytest.raises(CoresetError, match="'ring'"):  # it named no images of it
        made.evaluated(EvaluateReply("west", (result("ring", coverage=(0, 0)),)))


def test_a_section_named_without_rows_counts_for_nothing() -> None:
    made = Federation(RunConfig(coreset_size=5, min_sites=1))
    made.accept(train("north", "plate", "ring"))
    sly = train("south", "plate")
    made.accept(replace(sly, stats=(*sly.stats, SectionStats("ring", represented=90, held_out=9))))
    made.merge(1)
    with pytest.raises(CoresetError, match="'ring'"):
        made.evaluated(EvaluateReply("south", (result("ring", coverage=(0, 0)),)))


def test_a_threshold_rests_on_no_more_images_than_there_are(federation: Federation) -> None:
    boast = result("plate", calibrated=10**6, groups=10**6)
    with pytest.raises(CoresetError, match="from 1,000,000 images and has named 6"):
        federation.evaluated(EvaluateReply("south", (boast,)))


def test_where_products_share_a_section_the_roll_call_says_who_makes_what() -> None:
    made = Federation(RunConfig(coreset_size=5, min_sites=1, sections="shared"))
    print_ = fingerprint(dimension=8, layers=("a",)).to_json()
    facts = SiteFacts("north", ("plate", "ring"), (6, 0), (0, 4), "cpu", print_, "")
    made.given.named([facts])
    made.accept(train("north", "shared"))
    made.merge(1)
    made.evaluated(EvaluateReply("north", (result("plate", coverage=(0,)),)))
    made.close(1)
    for product in ("ring", "bolt"):
        with pytest.raises(CoresetError, match=f"'{product}'"):
            made.evaluated(EvaluateReply("north", (result(product, coverage=(0,)),)))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (train("south", "plate", count=400), "400 rows, asked were 5"),
        (train("south", *(f"p{at}" for at in range(51))), "51 products, max-products is 50"),
        (train("south", "plate", radius=1e-310), "radius"),
    ],
)
def test_no_more_than_was_asked_for(reply: TrainReply, words: str) -> None:
    made = Federation(RunConfig(coreset_size=5, max_products=50))
    with pytest.raises(CoresetError, match=words) as told:
        made.accept(reply)
    assert "south" in str(told.value) and "\n" not in str(told.value)
    assert not made.story.present and not made.contributions


def test_by_ratio_an_image_has_no_more_patches_than_pixels() -> None:
    made = Federation(RunConfig(coreset_ratio=0.01))
    part = Part(rows(400), 10, 900_000, 0.5)
    stats = (SectionStats("plate", 10, 10, patches=900_000, rows=400),)
    given = Contribution("south", fingerprint(dimension=8, layers=("a",)), {"plate": part})
    with pytest.raises(CoresetError, match="pixels"):
        made.accept(TrainReply("south", "full", given, stats))


def test_what_is_kept_of_two_rounds_can_be_loaded_again(tmp_path: Path) -> None:
    kept = Contributions(tmp_path)
    print_ = fingerprint(dimension=8, layers=("a",))
    full = Contribution("south", print_, {"plate": Part(rows(5), MAX_IMAGES, MAX_IMAGES, 0.5)})
    kept.put(full)
    with pytest.raises(CoresetError, match="not possible"):
        kept.extend(replace(full, parts={"plate": Part(rows(5, 1), 1, 1, 0.5)}), {"plate"})
    assert kept["south"].parts["plate"].images == MAX_IMAGES
    (tmp_path / "saved").mkdir()
    kept.save_into(tmp_path / "saved")
    for file in (tmp_path / "saved").iterdir():
        Contribution.load(file)


def test_notes_are_kept_up_to_a_number_by_message_and_by_run(federation: Federation) -> None:
    notes = tuple(f"note {at}\x1b" for at in range(9_000))
    federation.evaluated(EvaluateReply("south", (), notes=notes))
    kept = federation.story.evaluated["south"]["notes"]
    assert len(kept) == NOTES_OF_A_SITE + 1 and kept[0] == "note 0\\x1b"
    assert kept[-1] == "and 8,900 notes more, which are not kept"
    record = {"evaluate": {"south": {"notes": ["x"] * NOTES_OF_A_RUN}}}
    assert room_for_notes([record]) == 0


def test_one_evaluation_a_site_and_a_round(federation: Federation) -> None:
    federation.evaluated(EvaluateReply("south", (result("plate"),)))
    with pytest.raises(CoresetError, match="a second evaluation"):
        federation.evaluated(EvaluateReply("south", (result("plate", threshold=9.0),)))
    twice = EvaluateReply("west", (result("plate"), result("plate", threshold=9.0)))
    with pytest.raises(CoresetError, match="twice"):
        federation.evaluated(twice)


# -- the report ----------------------------------------------------------------------


def damaged(run: Path, change) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    change(metrics)
    (run / "metrics.json").write_text(json.dumps(metrics))


def first(metrics: dict) -> dict:
    return metrics["rounds"][-1]["evaluate"]["a"]["products"]["tile"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: first(m).update(histogram_good=["x"] * BINS), "figure cannot be drawn"),
        (lambda m: first(m).update(kinds=7), "damaged"),
        (lambda m: first(m).update(coverage="x" * 2), "part cannot be drawn"),
        (lambda m: first(m).update(good="x"), "damaged"),
        (lambda m: m["rounds"][0].update(train={"a": 7}), "part cannot be drawn"),
    ],
)
def test_what_cannot_be_drawn_says_so_in_its_place(tmp_path: Path, change, words: str) -> None:
    run = make_run(tmp_path / "run", ["a", "b"], ("tile", "nut"))
    damaged(run, change)
    try:
        page = build_report(run).read_text()
    except RunError as error:
        assert words in str(error) and "\n" not in str(error)
    else:
        assert words in page and 'id="product-0"' in page


def test_of_very_many_products_the_weakest_are_drawn(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fedpatchcore.report.views.products.MOST_DRAWN", 3)
    names = tuple(f"part {at}" for at in range(5))
    run = make_run(tmp_path / "run", ["a"], names)
    damaged(run, lambda m: _auroc(m, "part 4", 0.1))
    page = build_report(run).read_text()
    assert page.count('id="product-') == 3 and "<h2>part 4</h2>" in page
    assert "2 products more" in page


def _auroc(metrics: dict, product: str, value: float) -> None:
    metrics["rounds"][-1]["evaluate"]["a"]["products"][product]["image_auroc"] = value


def test_the_page_says_whose_word_the_weights_rest_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["a", "b"], settings={"weighted_by_samples": True})
    assert "which nobody else can check" in build_report(run).read_text()
    plain = make_run(tmp_path / "plain", ["a", "b"])
    assert "which nobody else can check" not in build_report(plain).read_text()


@pytest.mark.parametrize("robust", [True, False])
def test_one_giver_does_not_end_a_robust_merge_for_lack_of_memory(
    robust: bool, monkeypatch
) -> None:
    def needy(donors, settings):
        if sum(len(donor.features) for donor in donors) > 1000:
            raise ConfigError("raise server-memory-gb")
        return usual(donors, settings)

    config = RunConfig(robustness_enabled=robust, coreset_size=2000, min_sites=3)
    name = config.effective_aggregation
    usual = merging.AGGREGATIONS[name]
    needy.robust = usual.robust  # type: ignore[attr-defined]
    monkeypatch.setitem(merging.AGGREGATIONS, name, needy)
    parts = {site: Part(rows(20, at), 6, 5000, 0.5) for at, site in enumerate(SITES)}
    parts["south"] = Part(rows(2000), 6, 5000, 0.5)
    if not robust:
        with pytest.raises(ConfigError):
            merging.merge_section(parts, SITES, {}, config, device="cpu")
        return
    section, facts = merging.merge_section(parts, SITES, {}, config, device="cpu")
    assert facts["too_large"] == ["south"] and facts["sites"] == ["north", "west"]
    assert len(section) and "without south" in merging.section_line("plate", facts)
