"""The report of a private run: what is protected, what is withheld, and what is neither."""

from __future__ import annotations

import math

import pytest

from fedpatchcore.errors import RunError
from fedpatchcore.report.page import build_report
from tests.support.pages import page_of
from tests.support.runfolders import make_private, make_run


def test_privacy_of_another_mechanism(tmp_path):
    told = {"mechanism": "image-level gaussian", "epsilon": 4.0, "delta": 1e-5}
    page = page_of(make_run(tmp_path / "run", ["a", "b"], privacy=told))
    assert "image-level gaussian" in page.words and "epsilon 4.0" in page.words
    assert "without differential privacy" not in page.words


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
    assert f"a noisy sums{5 * ' withheld'} – 1.23 MB withheld withheld 15.0 s withheld" in words
    assert "Thresholds, verdicts, numbers of held-out images" in words
    assert "No verdicts" not in words and "no site held out" not in words
    assert "nearest to a site's training images is withheld" in words


def test_shared_metrics_are_shown(tmp_path):
    run = make_private(tmp_path / "run", settings={"dp_share_metrics": True})
    words = page_of(run).words
    assert "Thresholds, verdicts" not in words and "Withheld: stays" not in words
    assert "dp-share-metrics=true: thresholds" in words
    assert f"noisy sums{5 * ' withheld'} – 1.23 MB withheld withheld 15.0 s 4.0 s" in words


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
