"""Private runs through both real apps: what leaves, what it costs, who refuses."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Error, Message, RecordDict

from client_app.app import app as client_app
from client_app.records import from_records, to_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import ConfigError, PrivacyError, QuorumError
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.ledger import Ledger
from fedpatchcore.privacy.policy import ANY
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.site.setup import open_site
from fedpatchcore.wire.codebooks import pack_codebooks
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from server_app.app import app as server_app
from tests.apps.test_flower_apps import spoiled
from tests.apps.test_real_processes import command, only_run
from tests.conftest import picture, write_product
from tests.support.fakegrid import FakeGrid

NAMES = ("north", "south", "west")
LOUD = {"dp_epsilon": 60.0, "dp_budget_epsilon": 60.0}  # hardly any noise: the bank is of use


@pytest.fixture(scope="session")
def book_file(backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codebook of public pictures, so that no sample has to be drawn."""
    folder = tmp_path_factory.mktemp("public")
    for at in range(6):
        picture(50_000 + at, defect=at > 3).save(folder / f"{at}.png")
    features, _, _ = Extractor(backbone).all(sorted(folder.iterdir()))
    book = public_codebook(features.reshape(-1, 128), 12, 6, seed=0, source="pictures")
    book.save(folder / "book.safetensors", backbone.fingerprint)
    return folder / "book.safetensors"


@pytest.fixture
def table(settings: Callable[..., RunConfig], book_file: Path, tmp_path: Path):
    """The run-config of a private run as Flower hands it over."""

    def make(**overrides) -> dict:
        base = {
            "dp": "cells",
            "dp_codebook": str(book_file),
            "out_dir": str(tmp_path / "runs"),
            "run_name": "run",
            "wait_seconds": 1.0,
            "rejoin_seconds": 0.0,
            "compare_local": False,
        }
        return settings(**{**base, **overrides}).table()

    return make


@pytest.fixture
def nodes(sites_folder: Path, tmp_path: Path):
    return {
        at: {
            "site": name,
            "data": str(sites_folder / name),
            "ledger": str(tmp_path / "ledgers" / name),
            "out": str(tmp_path / "own" / name),
        }
        for at, name in enumerate(NAMES, start=11)
    }


@pytest.fixture
def run(table, nodes, tmp_path: Path):
    """Run the apps; returns (run folder, metrics, grid)."""

    def start(alter=lambda n, k, reply: reply, *, told=None, before=None, **overrides):
        config = table(**overrides)
        grid = FakeGrid(client_app, told or nodes, config, alter)
        if before:
            before(grid)
        server_app(grid, Context(1, 0, {}, RecordDict(), config))
        folder = tmp_path / "runs" / config["run-name"]
        return folder, json.loads((folder / "metrics.json").read_text()), grid

    return start


@pytest.fixture
def ask(nodes, book_file: Path, tmp_path: Path):
    """One message to one site, its packet back."""

    def send(kind: str, config: dict, *, node=None, bank: MemoryBank | None = None) -> Packet:
        packet = Packet()
        if kind == "train" and config["dp"] in ("cells", "moments", "kernel"):
            packet = pack_codebooks({ANY: Codebook.load(book_file)[0]})
        elif bank is not None:
            packet = pack(bank)
        records = to_records(packet)
        records["texts"]["run-folder"] = str(tmp_path / "runs" / "run")
        identity = tmp_path / "runs" / "run" / ".identity"
        records["texts"]["run"] = f"run-{identity.read_text()}" if identity.exists() else "run"
        records["texts"]["round"] = 1
        grid = FakeGrid(client_app, {1: node or nodes[11]}, config)
        message = Message(content=records, dst_node_id=1, message_type=kind)
        (reply,) = grid.pull_messages(grid.push_messages([message]))
        return from_records(reply.content)

    return send


def charges(folder: Path) -> tuple:
    return Ledger(folder).charges()


def ledger(tmp_path: Path, name: str = "north") -> Ledger:
    return Ledger(tmp_path / "ledgers" / name)


def privacy(folder: Path) -> dict:
    return json.loads((folder / "privacy.json").read_text())


# -- a whole run ----------------------------------------------------------------------


def test_a_private_run_says_what_protects_whom(run, tmp_path: Path) -> None:
    folder, metrics, _ = run(**LOUD, compare_local=True)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sections) == {"plate", "ring"}
    assert bank.sites == NAMES and bank.aggregation == "cell_sums"
    assert bank.thresholds == {}
    assert bank.privacy["mechanism"] == "cells"
    assert bank.privacy["adjacency"] == "add/remove" and bank.privacy["delta"] == 1e-5
    assert bank.privacy["epsilon"] == pytest.approx(60, rel=1e-6)
    told = privacy(folder)
    assert set(told["sites"]) == set(NAMES)
    assert (
        told["epsilon"]
        == bank.privacy["epsilon"]
        == max(note["spent"] for note in told["sites"].values())
    )
    assert told["withheld"] and told["not_covered"] and told["covered"]
    assert not any("virtual" in line for line in told["not_covered"])
    for name in NAMES:
        made = charges(tmp_path / "ledgers" / name)
        assert [c.section for c in made] == (["plate", "ring"] if name == "west" else ["plate"])
        assert {c.mechanism for c in made} == {"cells"} and {c.run for c in made} == {
            RunFolder(folder).identity
        }
        note = metrics["rounds"][0]["train"][name]["privacy"]
        assert (note["asked"], note["again"]) == (pytest.approx(60, rel=1e-6), False)
    found = metrics["rounds"][0]["evaluate"]["north"]["products"]["plate"]
    assert (found["good"], found["defective"]) == (3, 3)
    assert 0 <= found["image_auroc"] <= 1 and found["pixel_auroc"] > 0.5
    assert len(bank.section("plate")) >= 6  # of 12 cells: the sums rise above the noise
    assert found["threshold"] is None and found["held_out"] == 0
    own = json.loads((tmp_path / "own" / "north" / "run" / "private.json").read_text())["plate"]
    assert own["held_out"] == 1 and own["threshold"] > 0
    assert own["hybrid_image_auroc"] >= 0.5 and own["local_image_auroc"] > 0.9
    assert (folder / "report.html").stat().st_size > 5_000


def test_little_budget_is_little_use_and_no_crash(run) -> None:
    """ε = 1 and six images: nothing rises above the noise, and the run says so and ends."""
    folder, metrics, _ = run()
    (record,) = metrics["rounds"]
    assert set(record["train"]) == set(NAMES)
    assert record["sections"]["plate"]["rows"] <= 3
    assert len(MemoryBank.load(folder / "bank.safetensors").section("plate")) <= 3


def test_a_run_with_moments_makes_a_bank_that_detects(run, tmp_path: Path) -> None:
    folder, metrics, _ = run(**LOUD, dp="moments", compare_local=True)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sections) == {"plate", "ring"} and bank.aggregation == "moment_sums"
    for section in bank.sections.values():
        assert section.features.shape == (1, 128) and section.metric.shape == (128, 6)
    assert bank.privacy["mechanism"] == "moments" and "NOT" not in bank.privacy["unit"]
    assert bank.privacy["epsilon"] == pytest.approx(60, rel=1e-6)
    told = privacy(folder)
    assert set(told["sites"]) == set(NAMES) and told["withheld"]
    for name in NAMES:
        made = charges(tmp_path / "ledgers" / name)
        assert {c.mechanism for c in made} == {"moments"} and "per image" in made[0].label
        assert all(c.epsilon == pytest.approx(60, rel=1e-6) for c in made)
    found = metrics["rounds"][0]["evaluate"]["north"]["products"]["plate"]
    assert found["image_auroc"] > 0.7 and found["pixel_auroc"] > 0.6
    own = json.loads((tmp_path / "own" / "north" / "run" / "private.json").read_text())["plate"]
    assert own["hybrid_image_auroc"] >= own["local_image_auroc"] - 0.005 and own["threshold"] > 0
    assert (folder / "report.html").stat().st_size > 5_000
    run(**LOUD, dp="moments", resume=str(folder))
    assert privacy(folder)["sites"] == told["sites"]


def test_a_run_with_a_kernel_makes_a_bank_that_detects(run, tmp_path: Path) -> None:
    """From the same codebook file: its slice counts, its cells give way to waves."""
    told = dict(LOUD, dp="kernel", dp_waves=300, dp_bandwidth=0.1, compare_local=True)
    folder, metrics, _ = run(**told)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sections) == {"plate", "ring"} and bank.aggregation == "kernel_sums"
    for section in bank.sections.values():
        assert section.features.shape == (1, 128) and section.metric.shape == (128, 300)
        assert section.amplitudes.shape == (600,)
    assert bank.privacy["mechanism"] == "kernel" and "NOT" not in bank.privacy["unit"]
    assert bank.privacy["epsilon"] == pytest.approx(60, rel=1e-6)
    for name in NAMES:
        made = charges(tmp_path / "ledgers" / name)
        assert {c.mechanism for c in made} == {"kernel"} and "per image" in made[0].label
    found = metrics["rounds"][0]["evaluate"]["north"]["products"]["plate"]
    assert found["image_auroc"] > 0.7
    own = json.loads((tmp_path / "own" / "north" / "run" / "private.json").read_text())["plate"]
    assert own["hybrid_image_auroc"] is None and own["threshold"] > 0  # its score is no distance


def test_a_release_of_one_mechanism_is_never_sent_as_the_others(ask, table, tmp_path: Path) -> None:
    """Same run, images, codebook and noise: a second release, and charged as such."""
    config = {"dp_epsilon": 1.0, "dp_budget_epsilon": 4.0}
    cells = ask("train", table(**config))
    moments = ask("train", table(**config, dp="moments"))
    assert cells.arrays["plate"].shape == (12, 7)
    assert moments.arrays["plate"].shape == (1, 1 + 6 + 21)
    assert json.loads(moments.texts["privacy"])["again"] is False
    assert [c.mechanism for c in charges(tmp_path / "ledgers" / "north")] == ["cells", "moments"]
    spent = json.loads(moments.texts["privacy"])["spent"]
    assert 1.4 < spent < 1.5  # two releases over the same images
    again = ask("train", table(**config, dp="moments"))
    np.testing.assert_array_equal(again.arrays["plate"], moments.arrays["plate"])
    assert json.loads(again.texts["privacy"])["again"] is True
    assert set(moments.numbers) == STATS and all(not any(v) for v in moments.numbers.values())


def hostile_moments(packet: Packet) -> None:
    packet.arrays["plate"] = np.full((1, 28), 2**61, np.int64)


def test_a_hostile_site_is_left_out_of_moments(run) -> None:
    folder, metrics, _ = run(spoiled(hostile_moments), **LOUD, dp="moments")
    assert "no images can give" in metrics["rounds"][0]["rejected"]["south"]
    assert np.isfinite(MemoryBank.load(folder / "bank.safetensors").section("plate").metric).all()


# -- what leaves ----------------------------------------------------------------------

STATS = (
    {"images", "represented", "held_out", "bad", "extracted", "cached", "patches", "rows"}
    | {"radius", "seconds", "factor", "memory"}
)  # fmt: skip
RESULTS = (
    {"good", "defective", "image_auroc", "average_precision", "f1_best", "pixel_auroc", "aupro"}
    | {"spro_001", "spro_005", "spro_01", "spro_03", "spro_1"}
    | {"histogram_top", "roc", "histogram_good", "histogram_defective"}
)  # of test images and the private bank alone
WITHHELD = {
    "held_out": 0,
    "bad": 0,
    "threshold": math.nan,
    "vote_threshold": math.nan,
    "promised_fpr": 1.0,
    "true_positives": 0,
    "false_positives": 0,
    "true_negatives": 0,
    "false_negatives": 0,
    "local_image_auroc": math.nan,
    "local_average_precision": math.nan,
    "local_pixel_auroc": math.nan,
    "hybrid_image_auroc": math.nan,
    "hybrid_average_precision": math.nan,
    "hybrid_pixel_auroc": math.nan,
    "coverage": 0,
    "seconds": 0.0,
    "memory": 0,
}
NOTE = {"mechanism", "spent", "left", "budget", "delta", "asked", "releases", "unprotected"} | {
    "protected",
    "begun",
    "again",
}


@pytest.fixture
def bank(run, tmp_path: Path) -> MemoryBank:
    folder, _, _ = run(**LOUD)
    made = MemoryBank.load(folder / "bank.safetensors")
    shutil.rmtree(tmp_path / "ledgers")
    return made


def test_everything_that_leaves_is_known_by_name(ask, table, bank: MemoryBank) -> None:
    """A new key in any reply fails here until somebody has decided that it may leave."""
    config = table(compare_local=True)
    query = ask("query", config)
    assert query.arrays == {}
    assert set(query.numbers) == {"train_images", "test_images", "simulated"}
    assert set(query.texts) == {"site", "products", "device", "fingerprint", "version"}
    assert query.numbers["train_images"] == [0]

    train = ask("train", config)
    assert {n: (a.dtype, a.shape) for n, a in train.arrays.items()} == {
        "plate": (np.dtype(np.int64), (12, 7))
    }
    assert set(train.numbers) == STATS
    assert all(not any(values) for values in train.numbers.values())
    assert set(train.texts) == {"site", "kind", "fingerprint", "sections", "sums", "privacy"}
    assert (train.texts["kind"], train.texts["fingerprint"]) == ("sums", "")
    assert set(json.loads(train.texts["privacy"])) == NOTE
    assert {k: set(v) for k, v in json.loads(train.texts["sums"]).items()} == {
        "plate": {"sigma", "codebook"}
    }

    evaluate = ask("evaluate", config, bank=bank)
    assert evaluate.arrays == {}
    assert set(evaluate.numbers) == RESULTS | set(WITHHELD)
    assert set(evaluate.texts) == {"site", "products", "notes"}
    for name, empty in WITHHELD.items():
        for value in evaluate.numbers[name]:
            assert same(value, empty), name


def other_folder(original: Path, tmp_path: Path) -> Path:
    """The same test images, but more and other training images, one of them broken."""
    folder = tmp_path / "other"
    shutil.copytree(original, folder)
    good = folder / "plate" / "train" / "good"
    for at in range(9):
        picture(70_000 + at).save(good / f"new-{at}.png")
    (good / "000.png").write_bytes(b"no picture")
    return folder


def same(one: object, two: object) -> bool:
    return repr(one) == repr(two)  # NaN is NaN


@pytest.mark.parametrize("share", [False, True])
def test_nothing_but_the_sums_tells_of_training_images(
    ask, table, nodes, bank: MemoryBank, tmp_path: Path, share: bool
) -> None:
    """Two sites that differ in their training images alone answer alike in all but noise."""
    config = table(dp_share_metrics=share, holdout=0.3, compare_local=True)
    two = {**nodes[11], "ledger": str(tmp_path / "two"), "out": str(tmp_path / "two-out")}
    two["data"] = str(other_folder(Path(nodes[11]["data"]), tmp_path))
    told = [(nodes[11], "first"), (two, "second")]
    query = [ask("query", config, node=node) for node, _ in told]
    assert same(query[0], query[1])

    train = [ask("train", config, node=node) for node, _ in told]
    assert same(train[0].numbers, train[1].numbers)
    notes = [json.loads(p.texts.pop("privacy")) for p in train]
    for note in notes:
        note.pop("begun")  # when the site took part for the first time
    assert notes[0] == notes[1]
    assert train[0].texts == train[1].texts
    assert not np.array_equal(train[0].arrays["plate"], train[1].arrays["plate"])

    evaluate = [ask("evaluate", config, node=node, bank=bank) for node, _ in told]
    if share:
        held = [p.numbers["held_out"] for p in evaluate]
        assert held == [[2], [4]]
        assert all(p.numbers["threshold"][0] > 0 for p in evaluate)
        assert all(p.numbers["hybrid_image_auroc"][0] >= 0.5 for p in evaluate)
    else:
        assert same(evaluate[0], evaluate[1])


def test_errors_that_tell_of_images_stay_at_home(ask, table, nodes, tmp_path: Path) -> None:
    replies = []
    for count in (3, 5):
        folder = write_product(tmp_path / f"bad{count}" / "plate", train=10)
        for at in range(count):
            (folder / "train" / "good" / f"{at:03d}.png").write_bytes(b"")
        node = {**nodes[11], "data": str(tmp_path / f"bad{count}")}
        replies.append(ask("train", table(), node=node).texts)
        open_ = ask("train", table(dp="off"), node=node).texts["failure"]
        assert "1 of 9 images unreadable" in open_ and ".png" in open_
    assert replies[0] == replies[1]
    assert set(replies[0]) == {"site", "failure"}
    assert "DataError" in replies[0]["failure"] and "own log" in replies[0]["failure"]


def test_with_share_metrics_the_report_names_what_left(run) -> None:
    folder, metrics, _ = run(**LOUD, dp_share_metrics=True, compare_local=True)
    assert set(MemoryBank.load(folder / "bank.safetensors").thresholds["plate"]) == set(NAMES)
    found = metrics["rounds"][0]["evaluate"]["south"]["products"]["plate"]
    assert found["held_out"] == 1 and found["hybrid_image_auroc"] > 0.5
    told = privacy(folder)
    assert told["withheld"] == []
    assert "dp-share-metrics=true" in told["not_covered"][0]


# -- cost -----------------------------------------------------------------------------


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


TWICE = {**LOUD, "dp_budget_epsilon": 200.0}


def test_a_second_run_draws_and_charges_anew(run, tmp_path: Path) -> None:
    """Equal bytes in two runs would tell, without noise, that no image came or went."""
    one, _, _ = run(**TWICE, run_name="one")
    two, metrics, _ = run(**TWICE, run_name="two")
    assert (one / "bank.safetensors").read_bytes() != (two / "bank.safetensors").read_bytes()
    assert not any(s["privacy"]["again"] for s in metrics["rounds"][0]["train"].values())
    assert len(charges(tmp_path / "ledgers" / "north")) == 2
    assert 60 < privacy(two)["epsilon"] < 120


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


@pytest.mark.parametrize("epsilon", [1.0, 30.0])
def test_two_rounds_cost_what_one_would(run, tmp_path: Path, epsilon: float) -> None:
    told = {"dp_epsilon": epsilon, "dp_budget_epsilon": epsilon}
    folder, metrics, _ = run(**told, num_rounds=2)
    once = gaussian_sigma(epsilon, 1e-5)
    for name in NAMES:
        made = [c for c in charges(tmp_path / "ledgers" / name) if c.section == "plate"]
        assert [c.multiplier for c in made] == pytest.approx([once * 2**0.5] * 2)
        spent = [r["train"][name]["privacy"]["spent"] for r in metrics["rounds"]]
        assert spent[0] == pytest.approx(gaussian_epsilon(once * 2**0.5, 1e-5))
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


def test_a_product_that_joins_later_starts_from_the_public_codebook(run, nodes) -> None:
    def grow(grid: FakeGrid) -> None:
        send = grid.push_messages

        def push(messages):
            messages = list(messages)
            if [k for _, k in grid.sent].count("evaluate") == 3:
                write_product(Path(nodes[11]["data"]) / "disc", seed=31_000)
            return send(messages)

        grid.push_messages = push

    folder, metrics, _ = run(before=grow, **LOUD, num_rounds=2)
    assert "disc" not in metrics["rounds"][0]["sections"]
    assert metrics["rounds"][1]["sections"]["disc"]["sites"] == ["north"]
    assert set(MemoryBank.load(folder / "bank.safetensors").sections) == {"plate", "ring", "disc"}


# -- what a server does not take ------------------------------------------------------


def sums(packet: Packet, **change: object) -> None:
    told = json.loads(packet.texts["sums"])
    told["plate"] |= change
    packet.texts["sums"] = json.dumps(told)


BAD_SUMS = {
    "shape": (lambda p: p.arrays.update(plate=np.ones((12, 6), np.int64)), "expected int64"),
    "fewer cells": (lambda p: p.arrays.update(plate=np.ones((11, 7), np.int64)), "expected int64"),
    "floats": (lambda p: p.arrays.update(plate=np.ones((12, 7))), "holds float64"),
    "no sum": (
        lambda p: p.arrays.update(plate=np.full((12, 7), np.iinfo(np.int64).min)),
        "no images can give",
    ),
    "codebook": (lambda p: sums(p, codebook="0" * 64), "over another codebook"),
    "sigma": (lambda p: sums(p, sigma=0.01), "says its noise is 0.01"),
    "sigma NaN": (lambda p: sums(p, sigma=math.nan), "says its noise is nan"),
    "no figures": (lambda p: p.texts.update(sums="{}"), "cannot be read"),
    "no JSON": (lambda p: p.texts.update(sums="{"), "cannot be read"),
    "no sections": (
        lambda p: (p.arrays.clear(), p.texts.update(sums="{}")),
        "noisy sums of no section",
    ),
    "no ledger": (lambda p: p.texts.pop("privacy"), "without a ledger's word"),
    "a ledger of lies": (
        lambda p: p.texts.update(privacy=p.texts["privacy"].replace('"spent":', '"spent":-')),
        "cannot be read",
    ),
    "the codebook of all": (
        lambda p: (
            p.arrays.update({"*": p.arrays.pop("plate")}),
            p.texts.update(sections=["*"], sums=p.texts["sums"].replace("plate", "*")),
        ),
        "a section named '*'",
    ),
}


@pytest.mark.parametrize("name", BAD_SUMS)
def test_bad_sums_are_rejected_by_name_and_the_round_goes_on(name: str, run) -> None:
    change, words = BAD_SUMS[name]
    folder, metrics, _ = run(spoiled(change), **LOUD)
    (record,) = metrics["rounds"]
    assert words in record["rejected"]["south"]
    assert set(record["train"]) == {"north", "west"}
    assert record["sections"]["plate"]["sites"] == ["north", "west"]
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "west")
    assert set(privacy(folder)["sites"]) == {"north", "west"}


def bare_rows(packet: Packet) -> None:
    """What a site that ignores the settings would send: features as they are."""
    width = 128
    rows = np.zeros((4, width), np.float32)
    rows[:, 0] = 1
    packet.arrays["plate"] = rows
    packet.texts.update(kind="full", fingerprint=bare_rows.fingerprint)
    packet.texts.pop("sums")
    packet.numbers.update(images=[3], patches=[40], rows=[4])


def test_rows_without_noise_are_refused_in_a_private_run(run, backbone) -> None:
    bare_rows.fingerprint = backbone.fingerprint.to_json()
    _, metrics, _ = run(spoiled(bare_rows), **LOUD)
    (record,) = metrics["rounds"]
    assert "south" in record["rejected"]
    assert set(record["train"]) == {"north", "west"}


def nothing(packet: Packet) -> None:
    packet.arrays.clear()
    packet.texts.update(kind="none")
    packet.texts.pop("sums")


def test_nothing_new_is_no_answer_in_a_private_run(run) -> None:
    _, metrics, _ = run(spoiled(nothing), **LOUD)
    assert "south" in metrics["rounds"][0]["rejected"]


# -- what a site does not do ----------------------------------------------------------


def test_a_site_that_requires_privacy_refuses_a_run_without(run, nodes, ask, table) -> None:
    nodes[12]["dp-required"] = True
    folder, metrics, grid = run(dp="off")
    (record,) = metrics["rounds"]
    (reason,) = record["rejected"].values()
    assert "site 'south' sends nothing without differential privacy" in reason
    assert "dp='cells'" in reason
    assert (12, "train") not in grid.sent
    assert MemoryBank.load(folder / "bank.safetensors").privacy == {"mechanism": "off"}
    shared = ask("train", table(dp_share_metrics=True), node=nodes[12]).texts["failure"]
    assert "run with dp-share-metrics=false" in shared
    assert "failure" not in ask("train", table(), node=nodes[12]).texts


def test_a_site_that_requires_privacy_answers_no_unprotected_evaluation(
    ask, table, nodes, bank: MemoryBank
) -> None:
    """A server need not call the roll before it asks for thresholds and counts."""
    node = {**nodes[11], "dp-required": True}
    reply = ask("evaluate", table(dp="off"), node=node, bank=bank)
    assert "sends nothing without differential privacy" in reply.texts.get("failure", "")


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
    assert str(told.value).count("ε=inf is spent on these images") == 3
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


def test_waves_that_the_run_did_not_announce_are_refused(ask, table, tmp_path: Path) -> None:
    reply = ask("train", table(dp="kernel", dp_waves=7))
    assert "waves, the run's dp-waves is 7" in reply.texts["failure"]
    assert not ledger(tmp_path).path.exists()


def test_a_folder_of_results_above_the_sites_own_is_refused(
    nodes, table, bank: MemoryBank, tmp_path: Path
) -> None:
    records = to_records(pack(bank))
    records["texts"]["run-folder"] = str(tmp_path / "runs" / "..")
    grid = FakeGrid(client_app, {1: nodes[11]}, table(dp="off", heatmaps=1))
    message = Message(content=records, dst_node_id=1, message_type="evaluate")
    (reply,) = grid.pull_messages(grid.push_messages([message]))
    assert "a folder of results that is none" in from_records(reply.content).texts["failure"]


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


def test_virtual_sites_are_named_as_such(run, sites_folder: Path) -> None:
    told = {at: {"partition-id": at - 1, "num-partitions": 3} for at in (1, 2, 3)}
    folder, metrics, _ = run(told=told, data=str(sites_folder), **LOUD)
    assert set(metrics["rounds"][0]["train"]) == set(NAMES)
    for name in NAMES:
        assert len(charges(folder / "sites" / name / "ledger")) >= 1
        assert (folder / "sites" / name / "private.json").is_file()
    assert "virtual sites begin a ledger with each run" in privacy(folder)["not_covered"][0]


def test_a_codebook_of_other_features_stops_the_run(run, backbone, book_file, tmp_path) -> None:
    book, fingerprint = Codebook.load(book_file)
    other = fingerprint.model_copy(update={"neighbourhood": 5})
    book.save(tmp_path / "other.safetensors", other)
    with pytest.raises(QuorumError, match="0 usable site"):
        run(dp_codebook=str(tmp_path / "other.safetensors"))
    lines = (tmp_path / "runs" / "run" / "events.jsonl").read_text().splitlines()
    refused = [e for e in map(json.loads, lines) if e["event"] == "rejected"]
    assert len(refused) == 3
    assert all("neighbourhood: 5 ≠ 3" in e["reason"] for e in refused)


def test_a_later_round_without_quorum_still_measures_the_old_bank(run) -> None:
    trained = []

    def alter(node, kind, reply):
        trained.extend([node] * (kind == "train"))
        return Error(5, "") if kind == "train" and len(trained) > 3 else reply

    folder, metrics, _ = run(alter, **LOUD, num_rounds=2)
    two = metrics["rounds"][1]
    assert "no quorum" in two["notes"][0]
    assert MemoryBank.load(folder / "bank.safetensors").round == 1
    assert set(two["evaluate"]) == set(NAMES), two["rejected"]


# -- combinations ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coordinate_median", "site_vote", "federated_coreset"])
def test_banks_of_each_site_can_be_compared_instead_of_added(name: str, run) -> None:
    folder, metrics, _ = run(
        **LOUD, dp_combine="per-site", aggregation=name, min_sites=3, num_rounds=2
    )
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert bank.aggregation == name and set(bank.sections) == {"plate", "ring"}
    assert bank.privacy["mechanism"] == "cells"
    assert privacy(folder)["epsilon"] == pytest.approx(60, rel=1e-6)
    assert metrics["rounds"][1]["sections"]["plate"]["sites"] == list(NAMES)
    assert metrics["rounds"][1]["evaluate"]["north"]["products"]["plate"]["image_auroc"] is not None
    assert all(not section.images for section in bank.sections.values())  # counts are withheld


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


def test_the_number_of_rows_does_not_tell_the_number_of_images(
    ask, table, nodes, tmp_path: Path
) -> None:
    told = {"dp": "per-vector", "dp_epsilon": 8.0, "dp_budget_epsilon": 1e5}
    refused = ask("train", table(**told, coreset_size=0)).texts["failure"]
    assert "needs coreset-size" in refused
    write_product(tmp_path / "few" / "plate", train=2)
    few = {**nodes[11], "data": str(tmp_path / "few"), "ledger": str(tmp_path / "few-ledger")}
    replies = [ask("train", table(**told, coreset_size=700), node=n) for n in (few, nodes[11])]
    assert [r.arrays["plate"].shape for r in replies] == [(700, 128)] * 2  # few has 225 patches
    assert same(replies[0].numbers, replies[1].numbers)


def test_local_figures_under_clipping_compare_like_with_like(
    table, sites_folder: Path, tmp_path: Path
) -> None:
    """A training image that is also a test image: its distance to the site's own bank is 0."""
    from fedpatchcore.inprocess import federate
    from fedpatchcore.site.evaluation import evaluate_site

    told = {"dp": "per-vector", "dp_epsilon": 8.0, "dp_budget_epsilon": 1e4, "dp_clip": 0.3}
    config = RunConfig.parse(
        table(
            **told,
            min_sites=1,
            data=str(sites_folder),
            global_bank_size=5000,
            holdout=0.0,
            compare_local=True,
        ),
        where="test",
    )
    train = sites_folder / "north" / "plate" / "train" / "good"
    for path in (sites_folder / "north" / "plate" / "test" / "good").iterdir():
        shutil.copy(train / path.name, path)
    node = NodeConfig(partition_id=0, num_partitions=3)
    site = open_site(config, node, run_folder=tmp_path / "r")
    bank = federate([site], evaluate=False).bank
    seen = {}

    def spy(self, features):
        found = call(self, features)
        seen.setdefault(len(self.rows), []).append(found.patches)
        return found

    call = Scorer.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "__call__", spy)
        evaluate_site(site, bank)
    own = np.concatenate(seen[len(site.own_rows("plate"))])
    assert own.min() < 1e-2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"dp_epsilon": 2.0}, "no site could pay"),
        ({"dp": "per-vector", "num_rounds": 2}, "num-rounds=1"),
        ({"robustness_enabled": True, "min_sites": 3}, "dp-combine='per-site'"),
        ({"dp_delta": 1.0}, "dp-delta"),
        ({"dp_cells": 0}, "dp-cells"),
    ],
)
def test_settings_that_void_the_guarantee_stop_the_run_first(table, overrides, words: str) -> None:
    config = table() | {k.replace("_", "-"): v for k, v in overrides.items()}
    grid = FakeGrid(client_app, {}, config)
    with pytest.raises(ConfigError, match=words):
        server_app(grid, Context(1, 0, {}, RecordDict(), config))
    assert grid.sent == []


# -- real processes -------------------------------------------------------------------


@pytest.mark.slow
def test_a_private_simulation_with_real_processes(tmp_path: Path) -> None:
    for at, name in enumerate(NAMES):
        write_product(tmp_path / "data" / name / "plate", seed=1000 * at, train=8)
    (tmp_path / "public").mkdir()
    for at in range(6):
        picture(50_000 + at).save(tmp_path / "public" / f"{at}.png")
    told = {
        "backbone": "filterbank",
        "geometry": "full",
        "image-size": 64,
        "dp": "cells",
        "dp-epsilon": 30,
        "dp-budget-epsilon": 30,
        "dp-cells": 8,
        "dp-projection": 6,
        "dp-codebook": tmp_path / "public",
        "coreset-size": 50,
        "threads": 1,
        "heatmaps": 0,
        "num-rounds": 2,
    }
    words = ("simulate", "--data", tmp_path / "data", "--out", tmp_path / "out")
    done = command(tmp_path / "home", *words, table=told)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = only_run(tmp_path / "out")
    assert privacy(folder)["epsilon"] == pytest.approx(30, rel=1e-6)
    assert set(privacy(folder)["sites"]) == set(NAMES)
    for name in NAMES:
        assert len(charges(folder / "sites" / name / "ledger")) == 2
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert bank.privacy["mechanism"] == "cells" and bank.round == 2


def test_a_run_of_an_old_name_is_another_run(run) -> None:
    """Sent again, an old release would tell without noise that the images are still the same."""
    same = {"dp_budget_epsilon": 40.0, "dp_epsilon": 8.0, "run_name": "again"}
    first, second = (run(**same) for _ in range(2))
    for metrics in (first[1], second[1]):
        assert set(metrics["rounds"][0]["train"]) == set(NAMES)
    spent = [m["rounds"][0]["train"]["north"]["privacy"] for m in (first[1], second[1])]
    assert not spent[1]["again"]
    assert spent[1]["spent"] > spent[0]["spent"]
