"""Why: beside a region the good patch that is nearest to the bank's row; or why there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.features.tiles import pieces_of
from fedpatchcore.station.station import Station
from fedpatchcore.station.why import learn
from tests.support.products import picture
from tests.support.stations import camera, drop, rows_of, stepped

GEOMETRIES = {"full": 64, "whole": 64, "tiles": 64}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Good images of two sizes."""
    folder = tmp_path / "own" / "plate" / "train" / "good"
    folder.mkdir(parents=True)
    for at in range(6):
        picture(at, size=112).resize((112, 80 if at % 2 else 112)).save(folder / f"{at}.png")
    return folder


def bank_of(tmp_path: Path, good: Path, geometry: str) -> Path:
    told = {"geometry": geometry, "image_size": GEOMETRIES[geometry], "coreset_ratio": 0.1}
    told |= {"tile_overlap": 32} if geometry == "tiles" else {}
    made = PatchCore(RunConfig(backbone="filterbank", cache_gb=0, group_by="none", **told))
    made.fit({"plate": sorted(good.iterdir())})
    made.save(tmp_path / "bank.safetensors")
    return tmp_path / "bank.safetensors"


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_nearest_good_patch_of_every_geometry(
    make: Callable[..., Station], tmp_path: Path, good: Path, geometry: str
) -> None:
    bank = bank_of(tmp_path, good, geometry)
    station = make(bank=str(bank), training=str(tmp_path / "own"))
    bench = stepped(station)
    own = learn(bench, tmp_path / "own", threading.Event())["plate"]
    backbone, rows = bench.detector.backbone, bench.judging.section("plate").features
    known: list[tuple[int, int, int]] = []
    patches: list[np.ndarray] = []
    for at, file in enumerate(own.files):
        image = backbone.open(file)
        if geometry == "tiles":
            found = np.empty((*own.grids[at], rows.shape[1]), np.float32)
            for piece in pieces_of(backbone, backbone.square(image)):
                found[piece.place] = piece.features
        else:
            (found,) = backbone.extract([image])
        known += [(at, *place) for place in np.ndindex(*found.shape[:2])]
        patches.append(found.reshape(-1, rows.shape[1]))
    every = np.concatenate(patches)
    for row in range(0, len(rows), 1 + len(rows) // 12):
        distances = np.linalg.norm(every - rows[row], axis=1)
        close = 2e-3 * float(distances.max())
        at = known.index(tuple(own.nearest[row].tolist()))
        assert float(distances[at]) == pytest.approx(float(distances.min()), abs=close)
        assert float(own.distances[row]) == pytest.approx(float(distances.min()), abs=close)
    station.explainer.look(bench, threading.Event())
    part = tmp_path / "in" / "a.png"
    picture(900, size=112, defect=True).save(part)
    found = bench.judge(part, "plate")
    told = station.explainer.why(bench, "plate", found)
    assert found.prediction.regions and len(told) == min(3, len(found.prediction.regions))
    for one in told:
        left, top, right, bottom = one["there"]
        size = own.sizes[[str(file) for file in own.files].index(one["image"])]
        assert -1 <= left < right <= size[0] + 16 and -1 <= top < bottom <= size[1] + 16
        region = found.prediction.regions[one["region"]]
        left, top, right, bottom = one["here"]
        assert left - 1 <= region.x <= right + 1 and top - 1 <= region.y <= bottom + 1


def test_the_page_says_why_there_is_none(
    make: Callable[..., Station], tmp_path: Path, good: Path
) -> None:
    def shown(**told: str) -> str:
        station = make(**told)
        bench = stepped(station)
        if station.explainer.root is not None:
            station.explainer.look(bench, threading.Event())
        if not rows_of(station.place):
            drop(tmp_path, "a.png", 700, defect=True)
            station.watcher.look()
            station.worker.one(bench)
        page = camera(station, "viewer").get("/parts/1").text
        station.close()
        return page

    assert "no training folder is set" in shown()
    assert "before the training images were looked through" in shown(training=str(tmp_path / "own"))
    assert "the training folder cannot be read" in shown(training=str(tmp_path / "none"))
    for file in good.iterdir():
        file.write_bytes(b"no image")
    assert "no training images of this product" in shown(training=str(tmp_path / "own"))
