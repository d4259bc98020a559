"""What a private run tells people and programs: "withheld", never a false number or NaN."""

from __future__ import annotations

import json
import logging
import re

import pytest

from fedpatchcore.site.withholding import FROM_TRAINING
from tests.support.pages import page_of

FALSE = re.compile(r"\bnan\b|\binf\b|\bNone\b|\b0 images|\b0 rows|\(0 ")


def strict(text: str) -> object:
    def fail(word: str) -> object:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=fail)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("dp", ["cells", "moments", "kernel"])
def test_no_line_of_a_private_run_tells_a_false_number(
    run, cli, caplog: pytest.LogCaptureFixture, dp: str, share: bool
) -> None:
    with caplog.at_level(logging.INFO):
        folder, metrics, _ = run(
            dp=dp,
            dp_epsilon=60.0,
            dp_budget_epsilon=1000.0,
            dp_share_metrics=share,
            compare_local=True,
        )
    lines = [one.getMessage() for one in caplog.records if one.name == "flwr"]
    told = [line for line in lines if "{" not in line]
    assert any("number of images withheld" in line for line in told)
    line, *others = [line for line in told if line.startswith("north / plate: ")]
    assert line.startswith("verdicts, threshold", len("north / plate: ")) is not share
    assert ("; AUROC" in line, "withheld" in line, bool(others)) == (True, not share, share)
    assert not [line for line in told if FALSE.search(line)]
    assert not FALSE.search(page_of(folder).words.partition("FedPatchCore report")[2])
    for file in [*folder.rglob("*.json"), *folder.rglob("*.jsonl")]:
        text = file.read_text()
        for part in text.splitlines() if file.suffix == ".jsonl" else [text]:
            strict(part)
    found = metrics["rounds"][0]["evaluate"]["north"]["products"]["plate"]
    kept = {name for name in FROM_TRAINING if found.get(name) is None}  # planted: not asked for
    assert (kept == set(FROM_TRAINING)) is not share
    verdicts = metrics["verdicts"]["plate"]
    assert all(value is None for value in verdicts.values()) is not share
    assert (verdicts["defects_found"] is None) is not share
    code, out, _ = cli("bank", "inspect", folder / "bank.safetensors")
    assert code == 0 and not FALSE.search(out)


def test_a_site_that_holds_nothing_out_has_no_threshold_and_says_so(
    run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        _, metrics, _ = run(dp="off", calibration="holdout", holdout=0.0)
    told = [one.getMessage() for one in caplog.records if one.name == "flwr"]
    (line,) = [line for line in told if line.startswith("north / plate: ")]
    assert line.startswith("north / plate: no threshold: no normal images to set it by; AUROC")
    assert metrics["verdicts"]["plate"]["defects_found"]["of"] == 0
    assert not [line for line in told if "{" not in line and FALSE.search(line)]


def test_verdicts_come_first_and_a_promise_that_falls_short_says_what_it_takes(
    run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        _, metrics, _ = run(dp="off")
    told = [one.getMessage() for one in caplog.records if one.name == "flwr"]
    line, short = [line for line in told if line.startswith("north / plate: ")]
    result = metrics["rounds"][0]["evaluate"]["north"]["products"]["plate"]
    found, images = result["true_positives"], result["calibrated"]
    assert line.startswith(f"north / plate: defects found {found} of 3 (")
    assert f"from {images} images, one by one promises {100 / (images + 1):.0f}% (" in line
    assert short.endswith("target-fpr asks for 5.0%, and that takes 19 images")
