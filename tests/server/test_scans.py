"""A run over scans full of patients: nothing of one is in a bank, figure, page, log or cache."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.dicoms import SENTINEL, dicom
from tests.support.names import NAMES
from tests.support.products import write_product

FORMS = (SENTINEL, SENTINEL.lower(), "19411231", "084Y")


@pytest.fixture
def sites_folder(tmp_path: Path) -> Path:
    """Three sites whose images are scans; masks stay pictures."""
    root = tmp_path / "sites"
    for at, name in enumerate(NAMES):
        write_product(root / name / "plate", seed=1000 * at)
        for file in (root / name / "plate").rglob("*.png"):
            if "ground_truth" not in file.parts:
                grey = np.asarray(Image.open(file).convert("L")).astype(np.int32)
                told = {"RescaleSlope": 2, "RescaleIntercept": -100}
                file.with_suffix(".dcm").write_bytes(dicom(grey, **told))
                file.unlink()
    return root


@pytest.mark.slow
def test_nothing_of_a_patient_leaves_a_site_or_stays_anywhere(
    run, cli, tmp_path: Path, private_home: Path, capsys: pytest.CaptureFixture, caplog
) -> None:
    how = {"backbone": "filterbank", "layers": "", "weights": "", "value_range": "-100..410"}
    folder, metrics, _ = run(compare_local=True, heatmaps=2, dp="off", **how)
    said = "".join(capsys.readouterr()) + caplog.text
    results = metrics["rounds"][-1]["evaluate"]
    assert [one["products"]["plate"]["good"] for one in results.values()] == [3, 3, 3]
    assert MemoryBank.load(folder / "bank.safetensors").sites == tuple(NAMES)
    (scan, *_) = sorted((tmp_path / "sites" / NAMES[0] / "plate" / "test").rglob("*.dcm"))
    assert SENTINEL.encode() in scan.read_bytes()
    out = tmp_path / "judged"
    out.mkdir()
    tables = ("--csv", out / "a.csv", "--csv-regions", out / "b.csv", "--heatmaps", out / "maps")
    site = tmp_path / "sites" / NAMES[0]
    for words, codes in (
        (("predict", folder / "bank.safetensors", scan.parent, *tables), (0, 1)),
        (("predict", folder / "bank.safetensors", scan, "--json"), (0, 1)),
        (("evaluate", folder / "bank.safetensors", site), (0,)),
        (("data", "check", site), (0, 1)),
        (("report", folder), (0,)),
    ):
        code, told, wrong = cli(*words)
        assert code in codes, (words, told, wrong)
        assert not [one for one in FORMS if one in told + wrong], words
    assert (out / "a.csv").is_file() and list((out / "maps").rglob("*.png"))
    places = [folder, tmp_path / "own", tmp_path / "ledgers", out, private_home]
    found = [file for place in places for file in place.rglob("*") if file.is_file()]
    assert any(file.suffix == ".html" for file in found) and len(found) > 10
    for file in found:
        data = file.read_bytes()
        for form in FORMS:
            assert form not in str(file) and form.encode() not in data, (file, form)
    assert not [one for one in FORMS if one in said + json.dumps(metrics)]
