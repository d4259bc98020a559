"""The same bank on the same images is scored once, unless anything that counts has changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import PrivacyError
from fedpatchcore.features.warm import Warm
from fedpatchcore.service import site_service
from fedpatchcore.service.request import Request
from fedpatchcore.service.site_service import SiteService
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from tests.support.products import picture, write_product
from tests.support.workers import asked, bank_of, deterministic

pytestmark = pytest.mark.usefixtures("one_thread")


class Place:
    """A site with a bank, and how often it was really evaluated."""

    def __init__(self, root: Path, **words: object) -> None:
        self.root, self.plate = root, write_product(root / "data" / "plate", train=5)
        self.words = words
        self.scored = 0
        self.service = self.open()
        self.bank = bank_of(self.service.answer(asked("train")))

    def open(self, *, warm: bool = True, rules: Door | None = None) -> SiteService:
        own = {name: str(self.root / name) for name in ("cache", "out", "ledger")}
        node = NodeConfig(site="plant-a", data=str(self.root / "data"), **own, **self.words)
        kept = Warm(10**8) if warm else None
        log = logging.getLogger("test")
        return SiteService(node, name="x", log=log, warm=kept, rules=rules)

    def evaluate(self, bank: MemoryBank | None = None, **told: object) -> Packet:
        return self.service.answer(asked("evaluate", pack(bank or self.bank), **told))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    real = site_service.evaluate_site

    def counted(*args, **kwargs):
        made.scored += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(site_service, "evaluate_site", counted)
    return made


def test_the_same_again_is_not_scored_again(place: Place) -> None:
    first = deterministic(place.evaluate())
    for round in (1, 2, 3):
        again = place.evaluate(round=round)
        assert deterministic(again) == first
        assert again.numbers["seconds"][0] < 60  # of this answer, not of the first
    assert place.scored == 1


def test_thresholds_and_the_rounds_number_in_a_banks_header_change_no_figure(place: Place) -> None:
    first = deterministic(place.evaluate())
    told = place.bank.with_thresholds({"plate": {"plant-a": 0.5}})
    assert deterministic(place.evaluate(replace(told, round=7), round=2)) == first
    assert place.scored == 1
    anew = place.open(warm=False)  # and that is true
    packet = pack(replace(told, round=7))
    assert deterministic(anew.answer(asked("evaluate", packet, round=2))) == first
    assert place.scored == 2


def other_rows(bank: MemoryBank) -> MemoryBank:
    part = bank.sections["plate"]
    rows = part.features.copy()
    rows[3, 5] += np.float32(1e-3)
    return replace(bank, sections={"plate": replace(part, features=rows)})


def new_test_image(place: Place) -> None:
    picture(3).save(place.plate / "test" / "good" / "new.png")


def new_kind_of_defect(place: Place) -> None:
    folder = place.plate / "test" / "hole"
    folder.mkdir()
    picture(3, defect=True).save(folder / "0.png")


def one_gone(place: Place) -> None:
    (place.plate / "test" / "good" / "000.png").unlink()


def judged_otherwise(place: Place) -> None:
    (place.plate / "test" / "good" / "000.png").rename(place.plate / "test" / "square" / "x.png")


def written_over(place: Place) -> None:
    picture(99).save(place.plate / "test" / "good" / "001.png")


def another_mask(place: Place) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:10, :10] = 255
    Image.fromarray(mask).save(place.plate / "ground_truth" / "square" / "000_mask.png")


def no_mask(place: Place) -> None:
    (place.plate / "ground_truth" / "square" / "000_mask.png").unlink()


def another_training_image(place: Place) -> None:
    picture(98).save(place.plate / "train" / "good" / "001.png")


def new_training_image(place: Place) -> None:
    picture(97).save(place.plate / "train" / "good" / "new.png")


def new_product(place: Place) -> None:
    write_product(place.root / "data" / "ring", train=3, good=1, bad=1)


CHANGES: list[Callable[[Place], None]] = [
    new_test_image,
    new_kind_of_defect,
    one_gone,
    judged_otherwise,
    written_over,
    another_mask,
    no_mask,
    another_training_image,
    new_training_image,
    new_product,
]


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_images_is_noticed(place: Place, change: Callable[[Place], None]) -> None:
    place.evaluate()
    change(place)
    after = deterministic(place.evaluate())
    assert place.scored == 2
    cold = place.open(warm=False).answer(asked("evaluate", pack(place.bank)))
    assert deterministic(cold) == after  # nothing of what was in memory is in it


@pytest.mark.parametrize(
    "told",
    [
        {"run": "s"},
        {"number": "2"},
        {"target_fpr": 0.2},
        {"neighbours": 3},
        {"seed": 9},
        {"products": "plate"},
        {"no_such_key": 1},
    ],
)
def test_another_run_or_setting_is_another_evaluation(place: Place, told: dict) -> None:
    place.evaluate()
    place.evaluate(**told)
    assert place.scored == (1 if "no_such_key" in told else 2)
    place.evaluate()  # one is kept, the last
    assert place.scored == (1 if "no_such_key" in told else 3)


def test_another_bank_is_another_evaluation(place: Place) -> None:
    place.evaluate()
    place.evaluate(other_rows(place.bank))
    assert place.scored == 2
    place.evaluate(replace(place.bank, scoring={**place.bank.scoring, "neighbours": 3}))
    assert place.scored == 3


@pytest.mark.parametrize("key", ["groups", "exclude"])
def test_a_table_of_the_site_that_changes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    table, second = tmp_path / "table.csv", {"groups": "group", "exclude": "reason"}[key]
    table.write_text(f"file,{second}\nplate/train/good/000.png,a\n")
    place = Place(tmp_path, **{key: str(table)})
    asked_ = [0]
    real = site_service.evaluate_site
    monkeypatch.setattr(
        site_service,
        "evaluate_site",
        lambda *a, **k: (asked_.__setitem__(0, asked_[0] + 1), real(*a, **k))[1],
    )
    place.evaluate()
    place.evaluate()
    assert asked_ == [1]
    table.write_text(table.read_text() + "plate/train/good/001.png,a\n")
    deterministic(place.evaluate())
    assert asked_ == [2]


def test_an_evaluation_that_failed_is_not_kept(place: Place) -> None:
    image = place.plate / "test" / "good" / "000.png"
    sound = image.read_bytes()
    image.write_bytes(b"no image")
    failed = place.evaluate(max_bad_images=0.0)
    assert "unreadable" in failed.texts["failure"]
    assert "unreadable" in place.evaluate(max_bad_images=0.0).texts["failure"]
    image.write_bytes(sound)
    deterministic(place.evaluate(max_bad_images=0.0))
    assert place.scored == 3


def test_without_memory_every_evaluation_is_new(place: Place) -> None:
    place.service = place.open(warm=False)
    assert deterministic(place.evaluate()) == deterministic(place.evaluate())
    assert place.scored == 2


def test_new_images_are_noticed_by_a_warm_site_in_its_second_round(place: Place) -> None:
    place.evaluate()
    picture(55, defect=True).save(place.plate / "train" / "good" / "new.png")
    warm = deterministic(place.service.answer(asked("train", pack(place.bank), round=2)))
    assert warm["texts"]["kind"] == "delta"
    (extracted,) = json.loads(warm["numbers"]["extracted"])
    assert extracted == 1


class Door:
    """A site's words that change their mind."""

    shut = False

    def before(self, request: Request, config: RunConfig) -> RunConfig:
        self.after(None)
        return config

    def after(self, reply: object) -> None:
        if self.shut:
            raise PrivacyError("the door is shut")


def test_figures_in_memory_are_no_way_around_a_sites_words(place: Place) -> None:
    place.service = place.open(rules=(door := Door()))
    deterministic(place.evaluate())
    door.shut = True
    assert place.evaluate().texts["failure"] == "the door is shut"


def kept(place: Place) -> list[Path]:
    """Files of features."""
    return list((place.root / "cache").glob("*/*.safetensors"))


class Thrifty(Door):
    """A site that draws no picture and keeps no feature."""

    def before(self, request: Request, config: RunConfig) -> RunConfig:
        return config.model_copy(update={"heatmaps": 0, "cache_gb": 0.0})


def test_the_work_is_done_with_what_the_site_gives_and_its_log_says_so(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    (place.root / "cache").rename(place.root / "before")
    place.service = place.open(rules=Thrifty(), warm=False)
    with caplog.at_level(logging.INFO, "test"):
        answer = place.evaluate(heatmaps=2)
    assert "failure" not in answer.texts
    assert not list((place.root / "out").rglob("heatmaps"))
    assert not kept(place)
    assert "heatmaps=2: this site gives 0" in caplog.text
    assert "cache-gb=20.0: this site gives 0.0" in caplog.text
    place.service = place.open(warm=False)
    again = place.evaluate(heatmaps=2)
    del again.texts["holds"]  # of a bank in the cache
    assert deterministic(again) == deterministic(answer)  # no figure hangs on it
    assert list((place.root / "out").rglob("heatmaps"))
    assert kept(place)
