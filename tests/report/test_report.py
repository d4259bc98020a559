"""The report: right figures, nothing from outside unescaped, nothing fetched, any run shown."""

from __future__ import annotations

import json
import re
from math import nan as NAN
from pathlib import Path

import pytest

from fedpatchcore.errors import BankError, RunError
from fedpatchcore.report.page import build_report
from fedpatchcore.wire.messages import BINS, ROC_POINTS
from tests.support.pages import page_of
from tests.support.runfolders import HOSTILE, add_pictures, make_run

# -- the page -----------------------------------------------------------------------


def test_says_what_ran_and_how_good_it_is(tmp_path):
    page = page_of(make_run(tmp_path / "demo", ["plant-a", "plant-b"], rounds=2, pooled=True))
    for words in (
        "2 sites built one memory bank",
        "squeezenet1_1, aggregation federated_coreset",
        "in 2 rounds",
        "75.4 s",
        "over 2 sites.",
        "Round 2",
        "nothing new",
        "2 sites sent 2.46 MB",
        "slowest: plant-b in 16.0 s",
        "Coresets are shipped without differential privacy",
        "coreset-size",
    ):
        assert words in page.words, words
    assert "Not everything went well" not in page.words


def test_banks_of_other_sizes_are_told_and_compared_at_equal_size(tmp_path):
    changes = {"local_rows": 1234, "local_equal_image_auroc": 0.4321}
    page = page_of(make_run(tmp_path / "run", ["a", "b"], changes=changes))
    assert "Rows of the banks compared: local only 1,234, federated 8." in page.words
    assert "own rows" in page.words and "image AUROC, equal size" in page.words
    assert page.words.count("0.432") == 3  # both sites and their mean
    without = page_of(make_run(tmp_path / "other", ["a", "b"])).words
    assert "equal size" not in without and "own rows" not in without


def test_the_weakest_site_is_named_and_no_row_mixes_sites(tmp_path):
    run = make_run(tmp_path / "run", ["a", "b"], ("tile", "nut"))
    page = page_of(run)
    told = json.loads((run / "metrics.json").read_text())["rounds"][-1]["evaluate"]
    low = min((p["image_auroc"], n, s) for s, t in told.items() for n, p in t["products"].items())
    assert f"federated: {low[2]}, {low[1]}" in page.words
    assert "weakest site" in page.words and "worst site" not in page.words


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
    nothing |= {"good": 0, "defective": 0, "calibrated": 0, "promised_fpr": 1.0, "coverage": (0, 0)}
    nothing |= {"roc": (NAN,) * ROC_POINTS, "histogram_top": 0.0}
    nothing |= dict.fromkeys(("histogram_good", "histogram_defective"), (0,) * BINS)
    nothing |= {f"{a}_{b}": 0 for a in ("true", "false") for b in ("positives", "negatives")}
    page = page_of(make_run(tmp_path / "run", ["a", "b"], changes=nothing))
    assert not re.search(r"\bnan\b|\bNone\b", page.words)
    assert "No verdicts" in page.words and "no AUROC" in page.words
    assert "–" in page.words


@pytest.mark.parametrize("share", [0.0, 1.0, 0.305])
def test_what_a_crop_leaves_out_is_told(tmp_path, share: float):
    run = make_run(tmp_path / "run", ["a", HOSTILE], rounds=2)
    told = json.loads((run / "metrics.json").read_text())
    for site, one in told["rounds"][0]["train"].items():  # a later round tells nothing
        one["sections"][0]["seen"] = share if site == HOSTILE else 1.0 if share else 0.0
    (run / "metrics.json").write_text(json.dumps(told))
    words = page_of(run).words
    if share != 0.305:
        assert "What is seen of the pictures" not in words
        return
    assert "What is seen of the pictures" in words and "least of tile at <script>" in words
    assert "30 % of the area" in words and "a 100 %" in words


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


# -- robustness -----------------------------------------------------------------------


def test_sites_that_stand_out_are_shown_with_their_reason(tmp_path):
    sites = ["a", "b", "c", "d"]
    settings = {"robustness_enabled": True, "min_sites": 3, "on_outlier": "exclude"}
    changes = {
        "site_scores": {"tile": {"a": 0.1, "b": -0.4, "c": 37.2, "d": 4.5}},
        "outliers": {"c": f"section 'tile': too far {HOSTILE}", "d": "section 'tile': far"},
    }
    facts = {"rows": 9, "flagged": 0, "rejected_rows": 0, "offered_rows": 9, "sites": ["a", "d"]}
    changes["sections"] = {"tile": facts | {"all_but": 1}}
    run = make_run(tmp_path / "run", sites, record_changes=changes, settings=settings)
    page = page_of(run)
    for told in (
        "Both hold for all sites but 1 of a section",
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


def test_the_servers_memory_is_told(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", ["a", "b"])
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["rounds"][-1]["memory"] = {"merge": 1_234_000_000, "merge_cuda": 0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert (
        "merging took at most 1.23 GB of memory at the server" in build_report(folder).read_text()
    )
