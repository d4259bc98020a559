"""Private training over the apps of Flower: what leaves, what is charged, and when."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from client_app.records import from_records
from fedpatchcore.bank.contribution import Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.detection.student import unflattened
from fedpatchcore.errors import ConfigError
from fedpatchcore.learned.student import student_start
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.load import sampled_sigma
from fedpatchcore.site import private_training
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.train import unpack_train
from tests.server.test_private_disclosure import NOTE, STATS, WITHHELD, other_folder
from tests.support.names import NAMES
from tests.support.private import charges, privacy, same

pytestmark = pytest.mark.usefixtures("one_thread")
STUDENT = {
    "method": "student",
    "layers": "features.4,features.7",  # 128 and 256 channels
    "student_width": 16,
    "dp": "sgd",
    "dp_epsilon": 4.0,
    "dp_budget_epsilon": 4.0,
    "local_epochs": 2,
    "min_sites": 2,
    "local_batch": 5,
    "learning_rate": 0.05,
}
ROUNDS = {**STUDENT, "num_rounds": 2}


@pytest.fixture
def train(ask, table):
    """One train message to the first site; keywords are settings."""

    def send(*, node=None, run: str = "", **told):
        return ask("train", table(**{**STUDENT, **told}), node=node, run=run)

    return send


def books(tmp_path: Path, name: str = "north") -> tuple:
    return charges(tmp_path / "ledgers" / name)


def start(seed: int = 0) -> dict[str, np.ndarray]:
    return student_start(128, 384, width=16, seed=seed)


def sent(reply: Packet) -> dict[str, np.ndarray]:
    """The arrays beside a reply's rows, by name."""
    return {k.removeprefix("update."): v for k, v in part(reply).beside.items()}


def part(reply: Packet) -> Part:
    return unpack_train(reply).contribution.parts["plate"]


# -- what leaves ----------------------------------------------------------------------


def test_everything_that_leaves_is_known_by_name(train, tmp_path: Path) -> None:
    reply = train()
    size = sum(one.size for one in start().values())
    told = sent(reply)
    assert {name: (one.dtype, one.shape) for name, one in told.items()} == {
        "values": (np.dtype(np.float32), (size,)),
        "facts": (np.dtype(np.float64), (7,)),
        "layout": (np.dtype(np.uint8), (8,)),
    }
    rows = part(reply).features
    assert not rows.any() and rows.shape == (1, 384)  # no mean of patches
    round, examples, steps, weight, fresh, *losses = told["facts"]
    assert (round, examples, steps, weight, fresh) == (0, 1, 2, 2, 0)
    assert all(map(math.isnan, losses))
    assert set(reply.numbers) == STATS
    known = {"images", "patches", "rows"}  # 1 of each, whatever there is
    assert all(set(reply.numbers[name]) == {1} for name in known)
    assert all(not any(reply.numbers[name]) for name in STATS - known)
    assert set(reply.texts) == {"site", "kind", "fingerprint", "sections", "beside", "privacy"}
    assert set(json.loads(reply.texts["privacy"])) == NOTE


def test_nothing_but_the_update_tells_of_training_images(train, nodes, tmp_path: Path) -> None:
    """Two sites that differ in their training images alone answer alike in all but noise."""
    two = {**nodes[11], "ledger": str(tmp_path / "two"), "out": str(tmp_path / "two-out")}
    two["data"] = str(other_folder(Path(nodes[11]["data"]), tmp_path))
    first, second = train(), train(node=two)
    notes = [json.loads(p.texts.pop("privacy")) for p in (first, second)]
    for note in notes:
        note.pop("begun")
    assert notes[0] == notes[1]
    assert first.texts == second.texts and same(first.numbers, second.numbers)
    one, other = sent(first), sent(second)
    assert {k for k in one if not same(one[k].tolist(), other[k].tolist())} == {"values"}
    assert np.array_equal(part(first).features, part(second).features)


# -- what it costs --------------------------------------------------------------------


def test_all_rounds_together_cost_what_was_asked_for_and_no_figure_leaves(
    run, tmp_path: Path
) -> None:
    folder, metrics, _ = run(**ROUNDS, optimiser="scaffold", update_wire="topk")
    spent = [r["train"]["north"]["privacy"]["spent"] for r in metrics["rounds"]]
    assert spent[0] < spent[1] == pytest.approx(4.0, rel=1e-6)
    one, two = books(tmp_path)
    assert one.multiplier == pytest.approx(gaussian_sigma(4.0, 1e-5) * 2**0.5)
    assert one.mechanism == two.mechanism == "sgd" and len(one.images) == 6  # held out ones too
    told = privacy(folder)
    assert told["epsilon"] == pytest.approx(4.0) and told["clip"] == told["sample_rate"] == 1.0
    assert (told["mechanism"], told["adjacency"]) == ("sgd", "add/remove")
    for record in metrics["rounds"]:
        facts = record["sections"]["plate"]
        assert facts["updates"] == 3 and facts["steps"] == dict.fromkeys(NAMES, 2)
        assert "train_loss" not in facts and "held_out_loss" not in facts
        for site in NAMES:
            found = record["evaluate"][site]["products"]["plate"]
            assert all(found[name] is None for name in WITHHELD if name in found)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert not bank.thresholds and not bank.sections["plate"].images
    assert "losses of training" in " ".join(told["withheld"])


def test_steps_that_draw_images_are_charged_as_such(train, tmp_path: Path) -> None:
    note = json.loads(train(dp_sample_rate=0.5, num_rounds=2).texts["privacy"])
    (charge,) = books(tmp_path)
    assert (charge.rate, charge.steps) == (0.5, 4)
    assert charge.multiplier == sampled_sigma(4.0, 1e-5, 0.5, 8)
    assert 0 < note["spent"] == note["asked"] < 4.0


def test_a_round_is_charged_before_its_first_step(train, tmp_path: Path, monkeypatch) -> None:
    """Died in the middle of its steps: paid for, nothing sent; the next attempt costs nothing."""

    def die(*args, **how):
        lines = (tmp_path / "ledgers" / "north" / "ledger.jsonl").read_text().splitlines()
        assert [json.loads(line)["kind"] for line in lines] == ["charge"]
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(private_training, "trained", die)
        assert "power cut" not in (said := train().texts["failure"]) and "RuntimeError" in said
    reply = train()
    assert "failure" not in reply.texts
    assert len(books(tmp_path)) == 1


def test_a_retry_sends_the_same_update_and_costs_nothing(train, tmp_path: Path) -> None:
    first, second = train(), train()
    assert [json.loads(p.texts["privacy"])["again"] for p in (first, second)] == [False, True]
    for name, one in first.arrays.items():
        np.testing.assert_array_equal(one, second.arrays[name])
    assert len(books(tmp_path)) == 1
    other = train(run="other", dp_budget_epsilon=40.0)
    assert not np.array_equal(sent(other)["values"], sent(first)["values"])


def test_a_server_gets_no_second_update_of_a_round_from_another_model(
    train, tmp_path: Path
) -> None:
    """It would be a second release over the same images: charged, or refused."""
    told = {"dp_budget_epsilon": 40.0}
    assert "failure" not in train(**told).texts
    assert "north has answered this run" in train(**told, seed=1).texts["failure"]
    assert "north has answered this run" in train(**told, local_epochs=1).texts["failure"]
    assert len(books(tmp_path)) == 1


def test_a_budget_that_ends_in_the_middle_ends_the_site_and_not_the_run(
    run, nodes, tmp_path: Path
) -> None:
    half = gaussian_epsilon(gaussian_sigma(4.0, 1e-5) * 2**0.5, 1e-5)
    nodes[11]["dp-budget-epsilon"] = half * 1.01  # one round of the two
    folder, metrics, _ = run(**ROUNDS)
    one, two = metrics["rounds"]
    assert set(one["train"]) == set(NAMES) and set(two["train"]) == {"south", "west"}
    assert "privacy budget of north for section plate" in two["rejected"]["north"]
    assert [len(books(tmp_path, name)) for name in NAMES] == [1, 2, 4]
    assert MemoryBank.load(folder / "bank.safetensors").round == 2
    assert privacy(folder)["sites"]["north"]["spent"] == pytest.approx(half)


@pytest.mark.long
def test_a_run_that_died_goes_on_and_pays_nothing_twice(run, tmp_path: Path) -> None:
    """Round 2 was answered before the cut: the same updates come again, to the bit."""
    seen: list[np.ndarray] = []

    def watch(node, kind, reply, last: int = 99):
        if kind == "train":
            seen.append(sent(from_records(reply.content))["values"])
            if len(seen) >= last:
                raise RuntimeError("power cut")
        return reply

    with pytest.raises(RuntimeError, match="power cut"):
        run(lambda *args: watch(*args, last=5), **ROUNDS)
    folder = tmp_path / "runs" / "run"
    assert [p.name for p in (folder / "rounds").iterdir()] == ["0001"]
    paid = {name: len(books(tmp_path, name)) for name in NAMES}
    before, seen[:] = {one.tobytes() for one in seen[3:]}, []
    _, metrics, _ = run(watch, **ROUNDS, resume=str(folder))
    assert before <= {one.tobytes() for one in seen}
    due = {"north": 2, "south": 2, "west": 4}  # of two products
    assert {name: len(books(tmp_path, name)) for name in NAMES} == due
    assert paid["north"] == 2 and metrics["rounds"][1]["train"]["north"]["privacy"]["again"]
    assert privacy(folder)["epsilon"] == pytest.approx(4.0)


def test_delta_must_fit_the_number_of_images(train, tmp_path: Path) -> None:
    said = train(dp_delta=1e-3).texts["failure"]
    assert "dp-delta=0.001 is too large" in said and not books(tmp_path)


# -- privacy of whole sites, by the server --------------------------------------------


CLIENT = {**ROUNDS, "dp": "client", "dp_clip": 0.01, "learning_rate": 0.3}


def test_the_server_clips_updates_and_adds_the_noise_that_was_charged(run, tmp_path: Path) -> None:
    folder, _, _ = run(**{**CLIENT, "num_rounds": 1, "dp_epsilon": 4.0})
    found = unflattened(MemoryBank.load(folder / "bank.safetensors").sections["plate"].student, 384)
    moved = np.concatenate([(found[k] - one).ravel() for k, one in start().items()])
    due = 2 * gaussian_sigma(4.0, 1e-5) * 0.01 / 3  # over two clips, and the mean of three
    assert moved.std() == pytest.approx(due, rel=0.05)
    (charge,) = books(tmp_path)
    assert charge.multiplier == pytest.approx(gaussian_sigma(4.0, 1e-5))
    assert charge.mechanism == "client" and "must be trusted" in charge.label
    told = privacy(folder)
    assert told["adjacency"] == "replace-one (a site)" and "trusted" in told["unit"]
    assert told["not_covered"][0].startswith("the server: it sees each site's updates")
    page = (folder / "report.html").read_text()
    assert "but the server, which saw each site" in page


@pytest.mark.long
def test_a_clip_that_adapts_goes_on_after_a_cut(run, tmp_path: Path) -> None:
    def die(node, kind, reply):
        seen.append(kind)
        if seen.count("train") == 6:
            raise RuntimeError("power cut")
        return reply

    seen: list[str] = []
    told = {**CLIENT, "num_rounds": 3, "dp_clipping": "adaptive", "dp_clip": 5.0}
    with pytest.raises(RuntimeError):
        run(die, **told)
    folder = tmp_path / "runs" / "run"
    (state,) = (folder / "rounds").glob("*/method/models.json")
    kept = json.loads(state.read_text())
    clip = json.dumps(kept)
    assert '"clipping_norm": ' in clip and '"clipping_norm": 5.0' not in clip
    _, metrics, _ = run(**told, resume=str(folder))
    assert [r["round"] for r in metrics["rounds"]] == [1, 2, 3]
    assert privacy(folder)["epsilon"] == pytest.approx(4.0)


def test_who_does_not_trust_the_server_sends_it_no_update(train, nodes, tmp_path: Path) -> None:
    node = {**nodes[11], "dp-required": True, "dp-budget-epsilon": 9.0}
    told = {"dp_budget_epsilon": 9.0}
    said = train(node=node, dp="client").texts["failure"]
    assert "leaves the noise to the server" in said and not books(tmp_path)
    assert "failure" not in train(node={**node, "dp-trust-server": True}, dp="client", **told).texts
    assert "failure" not in train(node=node, run="other", **told).texts


def test_an_update_of_nothing_is_no_trouble() -> None:
    from fedpatchcore.learned.answers import Update
    from server_app.optimisers import rule_of

    config = RunConfig(**{**CLIENT, "dp_epsilon": 4.0}, backbone="squeezenet1_1")
    x = {"b": np.ones(3, np.float32), "a": np.ones((2, 2), np.float32)}
    nothing = {name: np.zeros_like(one) for name, one in x.items()}
    rule = rule_of(config, sites=3)
    updates = [Update(site, 0, nothing, 1, 2, 2.0) for site in NAMES]
    found = rule.step(1, x, updates)
    assert all(np.isfinite(one).all() and found[n].shape == one.shape for n, one in x.items())


# -- what does not go together --------------------------------------------------------

REFUSED = {
    "patchcore": ({"method": "patchcore"}, "is for methods that train"),
    "sums": ({"dp": "cells"}, "which is of coresets"),
    "rows": ({"dp": "per-vector"}, "which is of coresets"),
    "generator": ({"method": "generator"}, "its rows are patches"),
    "feddymem": ({"method": "feddymem"}, "averages of patches would leave without noise"),
    "early stop": ({"early_stop": 2}, "takes no early-stop"),
    "weights": ({"weighted_by_samples": True}, "takes no weighted-by-samples"),
    "momentum at the server": (
        {"dp": "client", "optimiser": "fedadam"},
        "its momentum would carry",
    ),
    "median": ({"dp": "client", "optimiser": "fedmedian"}, "can become the model"),
    "control": ({"dp": "client", "optimiser": "scaffold"}, "would leave without noise"),
    "masks": ({"secure_sums": True}, "secure-sums"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_charge_covers_is_refused_by_name(settings, name: str) -> None:
    told, words = REFUSED[name]
    with pytest.raises((ConfigError, ValueError), match=words):
        settings(**{**STUDENT, **told})
