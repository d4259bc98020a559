"""Phantoms of a head: the same ones again, what they show, and a federation of three hospitals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.images import load_image
from fedpatchcore.data.layouts import discover
from fedpatchcore.data.sample.phantoms import (
    FINDINGS,
    HEAD,
    HOSPITALS,
    PATIENT,
    phantom,
    write_phantoms,
)
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.errors import DataError
from fedpatchcore.inprocess import federate
from fedpatchcore.site.setup import open_site

pytest.importorskip("pydicom", reason="pip install 'fedpatchcore[dicom]'")

FEW = {"train": 8, "test_good": 3, "test_found": 3}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms") / "scans"
    assert write_phantoms(root, **FEW) == 3 * (8 + 3 + 3)
    return root


@pytest.mark.parametrize("hospital", range(3))
@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_is_where_the_mask_says_and_nothing_else_is_other(
    hospital: int, finding: str
) -> None:
    found, mask = phantom(hospital, (1, hospital, 2), finding)
    sound, none = phantom(hospital, (1, hospital, 2))
    assert not none.any() and 60 < mask.sum() < 4000
    assert found.min() >= -1024 and found.max() <= 3071 and found.dtype == np.int32
    near = mask.reshape(16, 16, 16, 16).any((1, 3))
    blocks = np.abs(found - sound).reshape(16, 16, 16, 16).max((1, 3)) > 6
    grown = np.pad(near, 1)
    around = sum(grown[y : y + 16, x : x + 16] for y in range(3) for x in range(3)) > 0
    assert blocks.any() and not (blocks & ~around).any()


def test_a_file_is_the_phantom_and_of_a_made_up_patient(scans: Path) -> None:
    file = scans / "hospital-b" / HEAD / "train" / "good" / "000.dcm"
    values, _ = phantom(1, (0, 1, 0, 0))
    wanted = np.rint(255 * np.clip((values + 20) / 120, 0, 1))
    shown = np.asarray(load_image(file, ValueRange(-20.0, 100.0)))
    assert np.abs(shown[..., 0] - wanted).max() <= 1
    assert file.read_bytes().count(PATIENT.encode()) == 2  # name and number
    products = discover(scans / "hospital-b")
    assert list(products) == [HEAD]
    masked = [one for one in products[HEAD].test if one.anomalous]
    assert len(masked) == 3 and all(one.masks for one in masked)


def test_the_same_arguments_are_the_same_bytes_and_others_need_another_folder(
    scans: Path, tmp_path: Path
) -> None:
    write_phantoms(tmp_path / "again", **FEW)
    files = sorted(one.relative_to(scans) for one in scans.rglob("*") if one.is_file())
    assert all(
        (scans / one).read_bytes() == (tmp_path / "again" / one).read_bytes() for one in files
    )
    assert write_phantoms(scans, **FEW) == 0  # it is there already
    for told in ({"seed": 1}, {"train": 0}, {"seed": -1}):
        with pytest.raises(DataError):
            write_phantoms(scans, **{**FEW, **told})
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "a.txt").touch()
    with pytest.raises(DataError, match="something else"):
        write_phantoms(tmp_path / "else", **FEW)


def test_three_hospitals_share_one_notion_of_a_normal_scan(scans: Path, tmp_path: Path) -> None:
    told = {"backbone": "filterbank", "geometry": "full", "image_size": 96, "device": "cpu"}
    told |= {"coreset_size": 60, "global_bank_size": 150, "value_range": "-20..100", "threads": 1}
    config = RunConfig(**told, heatmaps=0, compare_local=False)
    sites = [open_site(config, NodeConfig(site=name, data=str(scans / name))) for name in HOSPITALS]
    federation = federate(sites)
    bank = federation.bank
    assert bank.sites == HOSPITALS and set(bank.thresholds_of(HEAD)) == set(HOSPITALS)
    bank.save(tmp_path / "bank.safetensors")
    assert PATIENT.encode() not in (tmp_path / "bank.safetensors").read_bytes()
    detector = PatchCore(config, backbone=sites[0].backbone).use(bank)
    for at in range(3):  # the same head, in the same place, with a bleed and without
        scores = []
        for finding in ("bleed", None):
            values, _ = phantom(at, (5, at), finding)
            grey = np.rint(255 * np.clip((values + 20) / 120, 0, 1)).astype(np.uint8)
            scores.append(detector.predict(Image.fromarray(grey), HEAD).score)
        assert scores[0] > scores[1]
