"""Sites that cannot take part: one name twice, other features, folders that hold no images."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from PIL import Image

from client_app.app import app
from client_app.records import from_records
from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.fakegrid import FakeGrid
from tests.support.fingerprints import FINGERPRINT
from tests.support.networks import random_squeezenet
from tests.support.products import write_product


def test_two_nodes_with_one_name_are_both_refused(run, sites_folder: Path) -> None:
    nodes = {
        1: {"site": "north", "data": str(sites_folder / "north")},
        2: {"site": "north", "data": str(sites_folder / "south")},
        3: {"site": "west", "data": str(sites_folder / "west")},
        4: {"site": "south", "data": str(sites_folder / "south")},
    }
    _, metrics, grid = run(nodes=nodes)
    record = metrics["rounds"][0]
    assert set(record["train"]) == {"south", "west"}
    assert len(record["rejected"]) == 2
    assert all("call themselves 'north'" in why for why in record["rejected"].values())
    assert (1, "train") not in grid.sent


def test_a_site_with_other_weights_is_refused_at_the_roll_call(
    run, sites_folder: Path, tmp_path: Path
) -> None:
    other = random_squeezenet(tmp_path / "other.pth", 99)
    nodes = {
        at: {"site": name, "data": str(sites_folder / name)}
        for at, name in enumerate(("north", "south", "west"), start=11)
    }
    nodes[13]["weights"] = str(other)
    folder, metrics, grid = run(nodes=nodes)
    (reason,) = metrics["rounds"][0]["rejected"].values()
    assert "site 'west'" in reason
    assert "weights_sha256" in reason
    assert (13, "train") not in grid.sent
    assert set(MemoryBank.load(folder / "bank.safetensors").sections) == {"plate"}


def test_sites_that_disagree_evenly_are_all_refused() -> None:
    from fedpatchcore.server.rollcall import call_roll
    from fedpatchcore.version import VERSION
    from fedpatchcore.wire.messages import SiteFacts

    other = FINGERPRINT.model_copy(update={"weights_sha256": "cd" * 32})

    def facts(name: str, fingerprint) -> SiteFacts:
        return SiteFacts(name, ("p",), (1,), (0,), "cpu", fingerprint.to_json(), VERSION)

    tie = {"1": facts("a", FINGERPRINT), "2": facts("b", other)}
    refused, agreed = call_roll(tie, None)
    assert agreed is None
    assert set(refused) == {"1", "2"}
    assert "no side has a majority (weights_sha256: abababababab ≠ cdcdcdcdcdcd)" in refused["1"]
    refused, agreed = call_roll({**tie, "3": facts("c", other)}, None)
    assert agreed == other
    assert set(refused) == {"1"}
    refused, _ = call_roll(tie, FINGERPRINT)  # a bank decides
    assert set(refused) == {"2"}


def test_a_site_refuses_a_bank_of_other_features(run) -> None:
    """The mismatch is refused on the site's side too, and the site says so."""

    def before(grid: FakeGrid) -> None:
        deliver = grid._deliver

        def tampered(message):
            if message.metadata.message_type == "evaluate":
                texts = message.content["texts"]
                texts["bank"] = texts["bank"].replace('"neighbourhood": 3', '"neighbourhood": 5')
            return deliver(message)

        grid._deliver = tampered

    _, metrics, _ = run(before=before)
    record = metrics["rounds"][0]
    assert record["evaluate"] == {}
    assert "neighbourhood: 3 ≠ 5" in record["rejected"]["north"]


BAD_FOLDERS = {
    "missing": (lambda p: None, "no such folder"),
    "empty": (lambda p: p.mkdir(), "empty"),
    "all corrupt": (lambda p: corrupt(write_product(p / "plate"), share=1.0), "unreadable"),
    "text named png": (
        lambda p: [
            (q.parent.mkdir(parents=True, exist_ok=True), q.write_text("hello"))
            for q in [p / "plate" / "train" / "good" / "a.png"]
        ],
        "unreadable",
    ),
}


def corrupt(product: Path, *, share: float) -> None:
    files = sorted((product / "train" / "good").iterdir())
    for path in files[: max(1, round(share * len(files)))]:
        path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_a_bad_folder_is_told_plainly_and_the_others_go_on(
    name: str, run, sites_folder: Path, tmp_path: Path
) -> None:
    make, words = BAD_FOLDERS[name]
    make(tmp_path / "bad")
    nodes = {
        1: {"site": "north", "data": str(sites_folder / "north")},
        2: {"site": "south", "data": str(sites_folder / "south")},
        3: {"site": "bad", "data": str(tmp_path / "bad")},
    }
    _, metrics, _ = run(nodes=nodes)
    record = metrics["rounds"][0]
    assert set(record["train"]) == {"north", "south"}
    told = " ".join(record["rejected"].values())
    assert words in told
    assert str(tmp_path / "bad") in told


def test_one_corrupt_image_among_good_ones_is_skipped_and_counted(run, sites_folder: Path) -> None:
    write_product(sites_folder / "north" / "plate", train=20)
    victim = sites_folder / "north" / "plate" / "train" / "good" / "003.png"
    Image.open(sites_folder / "north/plate/train/good/004.png").convert("L").save(
        sites_folder / "north/plate/train/good/004.png"
    )  # grey among RGB
    victim.write_bytes(victim.read_bytes()[:100])
    _, metrics, _ = run(holdout=0.0)
    (section,) = metrics["rounds"][0]["train"]["north"]["sections"]
    assert (section["bad"], section["images"]) == (1, 19)


@pytest.mark.parametrize("site", ["north", ""])
def test_a_site_without_a_usable_library_says_so_and_is_named(site: str, monkeypatch) -> None:
    """Nothing of the library is needed to say it: the failure is a packet like any other."""
    monkeypatch.delenv("FEDPATCHCORE_SITE", raising=False)
    told = {"site": site} if site else {}
    context = Context(1, 77, told, RecordDict(), {})
    message = Message(RecordDict({"texts": ConfigRecord()}), dst_node_id=77, message_type="query")
    monkeypatch.setitem(sys.modules, "fedpatchcore.version", None)  # as if it were not there
    packet = from_records(app(message, context).content)
    assert packet.texts["site"] == (site or "node 77")
    assert "missing, damaged or older than this run's app" in packet.texts["failure"]
    assert "pip install --upgrade fedpatchcore" in packet.texts["failure"]
    assert "\n" not in packet.texts["failure"]
