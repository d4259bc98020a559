"""What private runs cost: charges, ledgers, budgets, and what is paid but once."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from client_app.records import from_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import PrivacyError, QuorumError
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.codebook import ANY, Codebook
from fedpatchcore.site.setup import open_site
from tests.support.names import NAMES
from tests.support.private import LOUD, TWICE, charges, ledger, privacy
from tests.support.products import picture

# -- runs and rounds ------------------------------------------------------------------


def test_a_retry_sends_the_same_bytes_and_costs_nothing(ask, table, tmp_path: Path) -> None:
    first, second = (ask("train", table()) for _ in range(2))
    np.testing.assert_array_equal(first.arrays["plate"], second.arrays["plate"])
    notes = [json.loads(p.texts["privacy"]) for p in (first, second)]
    assert [n["again"] for n in notes] == [False, True]
    assert notes[0]["spent"] == notes[1]["spent"] == pytest.approx(1, rel=1e-6)
    assert len(charges(tmp_path / "ledgers" / "north")) == 1
    ledger(tmp_path)
    shutil.rmtree(tmp_path / "ledgers")
    third = ask("train", table())
    assert not np.array_equal(first.arrays["plate"], third.arrays["plate"])  # noise has no seed


def test_a_second_run_draws_and_charges_anew(run, tmp_path: Path) -> None:
    """Equal bytes in two runs would tell, without noise, that no image came or went."""
    one, _, _ = run(**TWICE, run_name="one")
    two, metrics, _ = run(**TWICE, run_name="two")
    assert (one / "bank.safetensors").read_bytes() != (two / "bank.safetensors").read_bytes()
    assert not any(s["privacy"]["again"] for s in metrics["rounds"][0]["train"].values())
    assert len(charges(tmp_path / "ledgers" / "north")) == 2
    assert 60 < privacy(two)["epsilon"] < 120


def test_a_run_of_an_old_name_is_another_run(run) -> None:
    """Sent again, an old release would tell without noise that the images are still the same."""
    same = {"dp_budget_epsilon": 40.0, "dp_epsilon": 8.0, "run_name": "again"}
    first = run(**same)
    shutil.rmtree(first[0])  # its name is free again
    second = run(**same)
    for metrics in (first[1], second[1]):
        assert set(metrics["rounds"][0]["train"]) == set(NAMES)
    spent = [m["rounds"][0]["train"]["north"]["privacy"] for m in (first[1], second[1])]
    assert not spent[1]["again"]
    assert spent[1]["spent"] > spent[0]["spent"]


def test_a_spent_budget_is_a_refusal_that_says_what_to_do(run, nodes, tmp_path: Path) -> None:
    """One image is new at north, but the old ones cannot pay a second time."""
    nodes[11]["dp-budget-epsilon"] = 60.0
    run(**TWICE, run_name="one")
    picture(4242).save(Path(nodes[11]["data"]) / "plate" / "train" / "good" / "new.png")
    folder, metrics, _ = run(**TWICE, run_name="two")
    (record,) = metrics["rounds"]
    assert set(record["train"]) == {"south", "west"}
    reason = record["rejected"]["north"]
    assert "privacy budget of north for section plate" in reason
    assert "raise dp-budget-epsilon or use new images" in reason
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("south", "west")
    assert set(privacy(folder)["sites"]) == {"south", "west"}
    assert len(charges(tmp_path / "ledgers" / "north")) == 1
    with pytest.raises(QuorumError, match="north: privacy budget"):
        run(**TWICE, run_name="three", min_sites=3)


@pytest.mark.parametrize(("epsilon", "share"), [(1.0, 0.5), (30.0, 0.25)])
def test_two_rounds_cost_what_one_would(run, tmp_path: Path, epsilon: float, share: float) -> None:
    told = {"dp_epsilon": epsilon, "dp_budget_epsilon": epsilon, "dp_first_share": share}
    folder, metrics, _ = run(**told, num_rounds=2)
    once = gaussian_sigma(epsilon, 1e-5)
    for name in NAMES:
        made = [c for c in charges(tmp_path / "ledgers" / name) if c.section == "plate"]
        noise = [once / share**0.5, once / (1 - share) ** 0.5]
        assert [c.multiplier for c in made] == pytest.approx(noise)
        spent = [r["train"][name]["privacy"]["spent"] for r in metrics["rounds"]]
        assert spent[0] == pytest.approx(gaussian_epsilon(noise[0], 1e-5))
        assert spent[0] < spent[1] == pytest.approx(epsilon, rel=1e-6)
        assert spent[1] <= epsilon * (1 + 1e-9)
    assert privacy(folder)["epsilon"] == pytest.approx(epsilon, rel=1e-6)
    assert MemoryBank.load(folder / "bank.safetensors").round == 2


def test_a_run_that_died_after_round_one_goes_on_with_its_codebooks(run, tmp_path: Path) -> None:
    """Round 2 is asked over the codebook that round 1 gave, so nothing is paid twice."""
    seen: list[str] = []

    def die(node, kind, reply):
        if kind == "train":
            packet = from_records(reply.content)
            seen.append(json.loads(packet.texts["sums"])["plate"]["codebook"])
            if len(seen) == 5:
                raise RuntimeError("power cut")
        return reply

    with pytest.raises(RuntimeError, match="power cut"):
        run(die, **LOUD, num_rounds=2)
    folder = tmp_path / "runs" / "run"
    assert [p.name for p in (folder / "rounds").iterdir()] == ["0001"]
    before = len(charges(tmp_path / "ledgers" / "north"))
    asked = seen[:]
    seen.clear()

    def watch(node, kind, reply):
        if kind == "train":
            texts = from_records(reply.content).texts
            seen.append(json.loads(texts["sums"])["plate"]["codebook"])
        return reply

    _, metrics, _ = run(watch, **LOUD, num_rounds=2, resume=str(folder))
    assert [r["round"] for r in metrics["rounds"]] == [1, 2]
    assert set(asked[:3]) != set(asked[3:]) == set(seen)
    assert metrics["rounds"][1]["train"]["north"]["privacy"]["again"]  # paid before the cut
    assert len(charges(tmp_path / "ledgers" / "north")) == before == 2
    assert privacy(folder)["epsilon"] == pytest.approx(60, rel=1e-6)


# -- the site's own books -------------------------------------------------------------


def test_the_sites_own_smaller_budget_wins(run, nodes) -> None:
    nodes[11]["dp-budget-epsilon"] = 0.5
    nodes[12]["dp-budget-epsilon"] = 500.0  # but a larger one does not raise the run's
    _, metrics, _ = run()
    (record,) = metrics["rounds"]
    assert "would make 1 of 0.5" in record["rejected"]["north"]
    assert record["train"]["south"]["privacy"]["budget"] == 1.0
    assert record["train"]["south"]["privacy"]["left"] == pytest.approx(0, abs=1e-6)


def test_what_left_without_noise_is_remembered_once_a_ledger_is_kept(
    run, nodes, tmp_path: Path
) -> None:
    run(**LOUD, run_name="private")
    run(dp="off", run_name="open")
    (first, bare) = charges(tmp_path / "ledgers" / "north")
    assert (first.mechanism, bare.mechanism) == ("cells", "none")
    assert set(bare.images) <= set(first.images) and math.isinf(bare.epsilon)
    picture(4242).save(Path(nodes[11]["data"]) / "plate" / "train" / "good" / "new.png")
    with pytest.raises(QuorumError) as told:  # whatever the budget
        run(dp_epsilon=1e3, dp_budget_epsilon=1e6, run_name="again")
    same = "north, south, west: privacy budget of the site for section plate: ε=inf is spent on"
    assert same in str(told.value)
    assert len(charges(tmp_path / "ledgers" / "north")) == 2


def test_an_evaluation_without_noise_is_remembered_too(
    run, ask, table, nodes, bank: MemoryBank, tmp_path: Path
) -> None:
    """Its threshold is of training images, for rows of the server's choice."""
    run(**LOUD, run_name="private")
    for _ in range(2):
        reply = ask("evaluate", table(dp="off"), node=nodes[11], bank=bank)
        assert "failure" not in reply.texts
    (first, bare) = charges(tmp_path / "ledgers" / "north")
    assert (first.mechanism, bare.mechanism) == ("cells", "none")


def test_old_unprotected_images_do_not_stop_new_ones(run, nodes, tmp_path: Path) -> None:
    """An infinite ε in the books: said as such, and neither a file nor a resume breaks on it."""
    for name in NAMES[:2]:
        (tmp_path / "ledgers" / name).mkdir(parents=True)
        ledger(tmp_path, name).note_unprotected(
            run="old", site=name, section="plate", images=["0" * 64], label="bare"
        )
    folder, metrics, _ = run(**LOUD, num_rounds=1)
    assert set(metrics["rounds"][0]["train"]) == set(NAMES)
    told = privacy(folder)
    assert told["epsilon"] is None and told["sites"]["north"]["spent"] is None  # no number
    assert told["sites"]["west"]["spent"] == pytest.approx(60, rel=1e-6)
    assert told["sites"]["north"]["unprotected"] == 1
    assert MemoryBank.load(folder / "bank.safetensors").privacy["epsilon"] == math.inf
    run(**LOUD, num_rounds=1, resume=str(folder))
    assert privacy(folder)["sites"] == told["sites"]


def test_delta_must_fit_the_number_of_images(run, ask, table, nodes, tmp_path: Path) -> None:
    with pytest.raises(QuorumError, match=r"dp-delta=0.001 is too large.*1e-5"):
        run(dp_delta=1e-3)
    assert not (tmp_path / "ledgers" / "north" / "ledger.jsonl").exists()  # nothing was charged
    said = ask("train", table(dp_delta=1e-3)).texts["failure"]
    assert said.count("6") == said.count("5 images") == 0  # not how many images there are


def test_a_damaged_ledger_stops_its_site_alone(run, tmp_path: Path) -> None:
    run(**TWICE, run_name="one")
    path = tmp_path / "ledgers" / "south" / "ledger.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"run":"one-', '"run":"two-', 1))
    assert path.read_text() != text
    _, metrics, _ = run(**TWICE, run_name="two")
    assert "ledger" in metrics["rounds"][0]["rejected"]["south"]
    assert set(metrics["rounds"][0]["train"]) == {"north", "west"}


def test_a_virtual_site_keeps_its_ledger_in_the_run_and_needs_one(
    table, sites_folder: Path, tmp_path: Path, book_file: Path
) -> None:
    config = RunConfig.parse(table(data=str(sites_folder)), where="test")
    node = NodeConfig(partition_id=1, num_partitions=3)
    books = {ANY: Codebook.load(book_file)[0]}
    with pytest.raises(PrivacyError, match="site 'south' has no ledger"):
        open_site(config, node).train(codebooks=books)
    open_site(config, node, run_folder=tmp_path / "r").train(codebooks=books, run="r")
    assert len(charges(tmp_path / "r" / "sites" / "south" / "ledger")) == 1
    with pytest.raises(PrivacyError, match="no codebook that fits section 'plate'"):
        open_site(config, node, run_folder=tmp_path / "s").train(codebooks={})


# -- rows alone -----------------------------------------------------------------------


def test_rows_alone_are_refused_under_a_normal_budget(run) -> None:
    """Nominal ε = 1 a row; an image that owns 30 of them is at far more, and that is charged."""
    with pytest.raises(QuorumError) as told:
        run(dp="per-vector", dp_epsilon=1.0, dp_budget_epsilon=2.0)
    honest = gaussian_epsilon(gaussian_sigma(1.0, 1e-5) / (2 * 30**0.5), 1e-5)
    assert honest > 10
    assert f"{honest:.4g} is asked" in str(told.value)
    assert "of 2 at" in str(told.value)


def test_rows_alone_are_labelled_as_such_with_their_true_price(
    run, ask, table, tmp_path: Path
) -> None:
    told = {"dp": "per-vector", "dp_epsilon": 8.0, "dp_budget_epsilon": 1e4, "dp_clip": 0.7}
    folder, _, _ = run(**told)
    bank = MemoryBank.load(folder / "bank.safetensors")
    honest = gaussian_epsilon(gaussian_sigma(8.0, 1e-5) / (2 * 30**0.5), 1e-5)
    assert bank.privacy["mechanism"] == "per-vector" and "NOT one image" in bank.privacy["unit"]
    assert bank.privacy["nominal_epsilon"] == 8
    assert bank.privacy["epsilon"] == pytest.approx(honest, rel=1e-6)
    assert bank.privacy["clip"] == 0.7
    assert Scorer.of(bank, "plate").clip == 0.7
    (charge,) = charges(tmp_path / "ledgers" / "north")
    assert charge.mechanism == "per-vector" and "not per image" in charge.label
    report = privacy(folder)
    assert report["covered"] == ["each coreset row, given the selection"]
    assert not any("rows" in line for line in report["withheld"])  # anybody can count them
    note = json.loads(ask("train", table(**told)).texts["privacy"])
    assert note["again"] and note["asked"] == pytest.approx(honest, rel=1e-6)
    changed = json.loads(ask("train", table(**told, coreset="random")).texts["privacy"])
    assert not changed["again"]  # other rows: another release
