"""What a site says of its work beforehand: at the roll call, in its log, and only once measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.features import cost
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.server.rollcall import introduction
from fedpatchcore.site.site import Site
from fedpatchcore.wire.facts import unpack_facts
from fedpatchcore.wire.packing import pack
from tests.support.opened import count_opens
from tests.support.products import write_product


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A product of eight broad pictures, one of four squares."""
    write_product(tmp_path / "data" / "plate", train=4, good=0, bad=0)
    good = tmp_path / "data" / "rail" / "train" / "good"
    good.mkdir(parents=True)
    for at in range(8):
        noise = np.random.default_rng(at).integers(0, 256, (50, 125, 3)).astype(np.uint8)
        Image.fromarray(noise).save(good / f"{at}.png")
    return tmp_path / "data"


def site(folder: Path, settings, backbone: Backbone | None = None, **told) -> Site:
    config, lines = settings(**told), []
    made = Site(
        "north", discover(folder), config, backbone or build_backbone(config), say=lines.append
    )
    made.lines = lines
    return made


def test_the_roll_call_hears_of_seconds_bytes_and_what_a_crop_shows(
    folder: Path, settings, monkeypatch
) -> None:
    opened = count_opens(monkeypatch)
    here = site(folder, settings, geometry="crop")
    facts = here.facts()
    assert not opened  # heads alone
    side = 50 * 7 / 8
    assert facts.products == ("plate", "rail")
    assert facts.seen == pytest.approx(((7 / 8) ** 2, side * side / (50 * 125)), rel=0.03)
    assert facts.shown == facts.seen[1]
    found = here.extractor.all(here.training_images("rail").used)[0]
    assert facts.held == found.dense().nbytes and facts.features == 3 * facts.held // 2
    assert facts.seconds > 0
    line, event = introduction(unpack_facts(pack(facts)))
    assert "s an image, 12 images: " in line and "features 1 MB" in line
    assert "geometry='crop' shows 31% of the pictures' area" in line
    assert event["shown"] == facts.shown and event["held"] == facts.held


def test_only_a_crop_is_told_of_and_a_budget_bounds_what_is_held(folder: Path, settings) -> None:
    here = site(folder, settings, geometry="whole", memory_budget=1e-4)
    facts = here.facts()
    assert facts.seen == (0.0, 0.0) and facts.shown == 0
    assert facts.held == 100_000 < facts.features
    assert "shows" not in introduction(facts)[0]


def test_a_private_site_tells_nothing_that_its_images_have_a_part_in(
    folder: Path, settings, tmp_path: Path
) -> None:
    private = {"dp": "cells", "dp_epsilon": 4.0, "dp_budget_epsilon": 8.0, "geometry": "crop"}
    facts = site(folder, settings, **private).facts()
    assert facts.train_images == (0, 0) and facts.seen == (0.0, 0.0)
    assert (facts.features, facts.held) == (0, 0) and facts.seconds > 0
    line, _ = introduction(facts)
    assert line.endswith("s an image") and "withheld" in line


def test_a_size_is_measured_once_a_process(folder: Path, settings, monkeypatch) -> None:
    backbone = build_backbone(settings(geometry="whole"))
    monkeypatch.setattr(cost, "_measured", {})
    runs: list[tuple[int, ...]] = []
    real = backbone.extract_prepared
    noted = lambda images: runs.append(images[0].shape) or real(images)  # noqa: E731
    monkeypatch.setattr(backbone, "extract_prepared", noted)
    for _ in range(3):
        here = site(folder, settings, backbone, geometry="whole")
        here.facts()
        here.train()
    field = backbone.geometry.field(125, 50)
    assert runs.count((field[1], field[0], 3)) == 2 and len(runs) <= 4  # of each shape two
    assert sum("s an image, 8 images: " in line for line in here.lines) == 1


def test_a_slower_site_is_the_same_site(folder: Path, settings, backbone, monkeypatch) -> None:
    first = site(folder, settings, backbone).facts()
    monkeypatch.setattr(cost, "_measured", {})
    monkeypatch.setattr(cost, "_tried", lambda *how: (99.0, (15, 15)))
    second = site(folder, settings, backbone).facts()
    assert second.seconds == 99.0 != first.seconds and second == first
