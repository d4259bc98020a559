"""The command that judges: verdicts, regions, pictures, tables, and what is judged at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.products import picture

LIMIT = 0.35  # between the good and the bad of these parts


@pytest.fixture
def judge(cli, fitted, weights_file: Path) -> Callable[..., tuple[int, str, str]]:
    """``predict`` by the fitted bank, with a threshold between good and bad."""

    def call(*words: object) -> tuple[int, str, str]:
        told = ("--weights", weights_file, "--threshold", LIMIT)
        return cli("predict", fitted[1], *told, *words)

    return call


def lines(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def table(file: Path) -> list[dict]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_predict_exits_one_for_a_defect_and_zero_for_good(
    cli, fitted, weights_file: Path, tmp_path: Path
) -> None:
    product, bank = fitted
    told = ["--weights", weights_file, "--threshold", "0.35"]
    code, out, _ = cli("predict", bank, product / "test" / "square", *told)
    assert code == 1
    assert "3 of 3 defective" in out
    code, out, _ = cli("predict", bank, product / "test" / "good", *told, "--threshold", "9")
    assert code == 0
    assert "0 of 3 defective" in out


def test_predict_with_the_sites_own_bank(
    cli, fitted, quick: list[str], weights_file: Path, tmp_path: Path
) -> None:
    product, bank = fitted
    own = tmp_path / "own.safetensors"
    given = [product / "test" / "square" / "000.png", "--json", "--weights", weights_file]
    _, out, _ = cli("predict", bank, *given)
    alone = json.loads(out)
    assert cli("fit", product, "-o", own, *quick, "-c", "coreset-size=300")[0] == 0
    _, out, _ = cli("predict", bank, *given, "--local", own)
    both = json.loads(out)
    assert both["score"] <= alone["score"] and both["threshold"] == alone["threshold"]
    assert cli("fit", product, "-o", own, *quick, "-c", "layer-norm=none")[0] == 0
    code, _, err = cli("predict", bank, *given, "--local", own)
    assert code == 2
    assert "the local bank" in err and "layer_norm" in err


def test_an_unreadable_image_does_not_stop_the_others(cli, fitted, weights_file: Path) -> None:
    product, bank = fitted
    (product / "test" / "good" / "zz.png").write_text("no image")
    code, out, _ = cli(
        "predict", bank, product / "test" / "good", "--weights", weights_file, "--json"
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 2
    assert len(rows) == 4
    assert "error" in rows[-1]


def test_what_is_called_defective_has_regions_and_nothing_else_has(judge, fitted) -> None:
    product, _ = fitted
    code, out, _ = judge(product / "test", "--json")
    rows = lines(out)
    assert code == 1 and {row["defective"] for row in rows} == {True, False}
    for row in rows:
        assert row["defective"] == bool(row["regions"])
        for region in row["regions"]:
            assert 0 <= region["left"] <= region["x"] < region["right"] <= 64
            assert 0 <= region["top"] <= region["y"] < region["bottom"] <= 64
            assert 1 <= region["area"] <= 64 * 64 and region["peak"] > LIMIT
        if row["defective"]:  # a bright square at 24 to 40, 20 to 36
            worst = row["regions"][0]
            assert worst["peak"] == pytest.approx(row["score"])
            assert 12 <= worst["x"] < 52 and 8 <= worst["y"] < 48  # its edges stand out


def test_tables_for_spreadsheets_say_what_json_says(judge, fitted, tmp_path: Path) -> None:
    product, _ = fitted
    (product / "test" / "good" / "zz.png").write_text("no image")
    images, regions = tmp_path / "images.csv", tmp_path / "regions.csv"
    words = ("--csv", images, "--csv-regions", regions)
    code, out, _ = judge(product / "test", "--json", *words)
    assert code == 2
    told, wanted, box = lines(out), [], ("left", "top", "right", "bottom", "area", "x", "y")
    for row, cells in zip(told, table(images), strict=True):
        assert cells["image"] == row["image"]
        if "error" in row:
            assert (cells["verdict"], cells["error"]) == ("unreadable", row["error"])
            assert cells["score"] == cells["regions"] == ""
            continue
        assert float(cells["score"]) == row["score"] and float(cells["threshold"]) == LIMIT
        assert cells["verdict"] == ("DEFECT" if row["defective"] else "ok")
        assert int(cells["regions"]) == len(row["regions"])
        wanted += [(row["image"], at, region) for at, region in enumerate(row["regions"], 1)]
        for name in (*box, "peak"):
            worst = str(row["regions"][0][name]) if row["regions"] else ""
            assert cells[name] == worst
    found = table(regions)
    assert len(found) == len(wanted) >= 3
    for cells, (image, at, region) in zip(found, wanted, strict=True):
        assert (cells["image"], int(cells["region"])) == (image, at)
        assert [int(cells[name]) for name in box] == [region[name] for name in box]
        assert float(cells["peak"]) == region["peak"]
    judge(product / "test" / "good", *words)
    assert len(table(images)) == 4 and table(regions) == []  # written anew, not added to


def test_a_name_is_no_formula(judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["=1+1.png", "@a, b.png", "plain ü.png"]
    for name in names:
        picture(1).save(name)
    Path("-bad.png").write_text("no image")
    assert judge("--csv", "t.csv", "--json", "--", *names, "-bad.png")[0] == 2
    found = table(Path("t.csv"))
    assert [row["image"] for row in found] == [
        "./=1+1.png", "./@a, b.png", "plain ü.png", "./-bad.png",
    ]  # fmt: skip
    assert found[3]["error"].startswith("./-bad.png")


@pytest.mark.parametrize("words", [("--csv", "t.csv", "--csv-regions", "./t.csv"), ("--csv", ".")])
def test_a_table_that_cannot_be_written_is_told_at_once(
    judge, fitted, words: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = judge(fitted[0] / "test", *words)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1


def test_no_picture_overwrites_another(judge, tmp_path: Path) -> None:
    new, maps = tmp_path / "new", tmp_path / "maps"
    names = ["a.jpg", "a.png", "sub1/a.png", "sub1/deep/a.png", "sub2/a.png"]
    for at, name in enumerate(names):
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        picture(at).save(new / name)
    _, out, _ = judge(new, "--json", "--heatmaps", maps)
    rows = lines(out)
    assert [row["image"] for row in rows] == [str(new / name) for name in names]
    assert [row["heatmap"] for row in rows] == [str(maps / f"{name}.png") for name in names]
    for row in rows:
        with Image.open(row["heatmap"]) as opened:
            assert opened.format == "PNG"
    # files alone, and files beside folders: below the folder that holds them all
    single = [new / "sub1" / "a.png", new / "sub2" / "a.png", new / "sub1" / "a.png"]
    _, out, _ = judge(*single, "--json", "--heatmaps", tmp_path / "other")
    found = [Path(row["heatmap"]).relative_to(tmp_path / "other") for row in lines(out)]
    assert found == [Path("sub1/a.png.png"), Path("sub2/a.png.png")]
    _, out, _ = judge(new / "sub1" / "a.png", "--json", "--heatmaps", tmp_path / "one")
    assert lines(out)[0]["heatmap"] == str(tmp_path / "one" / "a.png.png")


def test_masks_hidden_folders_and_heatmaps_are_no_parts(judge, fitted) -> None:
    product, _ = fitted
    (product / "test" / ".cache").mkdir()
    picture(0).save(product / "test" / ".cache" / "a.png")
    maps = product / "maps"
    for _ in range(2):
        _, out, err = judge(product, "--json", "--heatmaps", maps)
        rows = lines(out)
        assert len(rows) == 16 + 3 + 3
        assert not [r for r in rows if "ground_truth" in r["image"] or ".cache" in r["image"]]
        assert f"{product / 'ground_truth'} (masks)" in err
        assert f"{product / 'test' / '.cache'} (hidden)" in err
    assert f"{maps} (heatmaps)" in err
    masks = product / "ground_truth"
    code, out, err = judge(masks, "--json")  # asked for by name
    assert len(lines(out)) == 3 and err == ""
    code, _, err = judge(masks, "--heatmaps", masks / ".")
    assert code == 2 and "another folder" in err


def test_no_verdict_is_no_all_clear(cli, fitted, weights_file: Path, tmp_path: Path) -> None:
    product, file = fitted
    bare = tmp_path / "bare.safetensors"
    replace(MemoryBank.load(file), thresholds={}).save(bare)
    told = ("predict", bare, product / "test" / "good", "--weights", weights_file)
    code, out, err = cli(*told)
    assert code == 2 and out.count("no threshold") == 3
    assert err.startswith("error: no verdict on 3 of 3: the bank holds no threshold for 'plate'")
    assert err.count("\n") == err.count("threshold for") == 1
    assert "--threshold" in err and "private.json" not in err
    assert cli(*told, "--threshold", "99")[0] == 0


def test_a_private_bank_says_where_its_thresholds_are(
    cli, fitted, weights_file: Path, tmp_path: Path
) -> None:
    product, file = fitted
    private = tmp_path / "private.safetensors"
    protected = {"mechanism": "moments", "epsilon": 8.0}
    replace(MemoryBank.load(file), thresholds={}, privacy=protected).save(private)
    told = ("predict", private, product / "test" / "good", "--weights", weights_file)
    for words in ((), ("--site", "this-machine")):
        code, _, err = cli(*told, *words)
        assert code == 2 and err.count("\n") == 1 and err.startswith("error: ")
        assert "holds no threshold for 'plate'" in err and "dp=moments" in err
        assert "private.json" in err and "--threshold" in err and "--local" in err
    # as it is told: the site's own bank, and the threshold that fit prints for it
    limit = str(MemoryBank.load(file).threshold("plate"))
    assert cli(*told, "--local", file, "--threshold", limit)[0] in (0, 1)


def test_a_threshold_that_is_there_under_another_name_is_named(
    cli, fitted, weights_file: Path, tmp_path: Path
) -> None:
    product, file = fitted
    told = ("--weights", weights_file, product / "test" / "good")
    bank, other = MemoryBank.load(file), tmp_path / "other.safetensors"
    replace(bank, scoring={**bank.scoring, "home": 1}).save(other)
    code, _, err = cli("predict", other, *told)
    assert code == 2 and "--site this-machine" in err
    assert cli("predict", other, *told, "--site", "this-machine")[0] in (0, 1)
    replace(bank, sections={"shared": bank.sections["plate"]}).save(other)
    code, _, err = cli("predict", other, *told)
    assert code == 2 and "--product plate" in err
    assert cli("predict", other, *told, "--product", "plate")[0] in (0, 1)


def test_a_path_that_is_not_there_is_one_line(cli, fitted, weights_file: Path) -> None:
    product, bank = fitted
    told = ("--weights", weights_file, "--json")
    code, out, err = cli("predict", bank, "nowhere", "never.png", *told)
    assert (code, out) == (2, "") and "there is no nowhere and no never.png" in err
    code, out, err = cli("predict", bank, product / "test" / "good", "never.png", *told)
    assert code == 2 and "no such file" in lines(out)[-1]["error"]  # the others are judged


def test_what_is_not_judged_is_no_all_clear(judge, tmp_path: Path) -> None:
    """A picture of a kind that is not read is an error; further pages of a file are told."""
    new = tmp_path / "new"
    new.mkdir()
    picture(0).save(new / "a.tif", save_all=True, append_images=[picture(1), picture(2)])
    code, out, err = judge(new, "--json")
    assert len(lines(out)) == 1 and code == 0
    assert err.strip() == f"not judged: {new / 'a.tif'} (all pages but the first)"
    picture(1).save(new / "b.gif")
    code, out, _ = judge(new, "--json")
    assert code == 2
    assert "convert or remove it" in lines(out)[1]["error"]
