"""The synthetic sample: same bytes for the same arguments, honest masks, safe on disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation
from sklearn.metrics import roc_auc_score

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.data.sample import (
    DEFECTS,
    MAX_SITES,
    PRODUCTS,
    SITES,
    Condition,
    products_of_site,
    render,
    site_names,
    write_sample,
)
from fedpatchcore.errors import DataError
from fedpatchcore.features.backbones.filterbank import FilterBank
from fedpatchcore.features.patches import embed

SMALL = {"sites": 3, "train": 2, "test_good": 2, "test_defective": 4}


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    root = tmp_path_factory.mktemp("sample") / "made"
    return root, write_sample(root, **SMALL)


def test_equal_arguments_give_equal_bytes(written: tuple[Path, dict], tmp_path: Path) -> None:
    root, summary = written
    assert summary["written"]
    write_sample(tmp_path / "again", **SMALL)
    assert digests(tmp_path / "again") == digests(root)
    other = write_sample(tmp_path / "other", seed=1, sites=1, train=1, test_good=0)
    assert other["images"] == 3 * (1 + 8)
    name = "plant-a/board/train/good/000.png"
    assert digests(tmp_path / "other")[name] != digests(root)[name]


def test_train_images_do_not_depend_on_the_other_counts(
    written: tuple[Path, dict], tmp_path: Path
) -> None:
    write_sample(tmp_path / "s", sites=1, train=1, test_good=0, test_defective=0)
    mine, theirs = digests(tmp_path / "s"), digests(written[0])
    shared = [name for name in mine if name.endswith(".png")]
    assert len(shared) == 3
    assert all(mine[name] == theirs[name] for name in shared)


def test_layout_counts_and_modes(written: tuple[Path, dict]) -> None:
    root, summary = written
    images = [p for p in root.rglob("*.png") if "ground_truth" not in p.parts]
    masks = list(root.glob("*/*/ground_truth/*/*_mask.png"))
    assert len(images) == summary["images"] and len(masks) == summary["masks"]
    assert set(summary["sites"]) == set(SITES[:3])
    for path in images:
        with Image.open(path) as image:
            assert image.size == (256, 256) and image.mode == "RGB"
    for path in masks:
        with Image.open(path) as image:
            values = np.array(image)
            assert image.mode == "L"
        assert set(np.unique(values)) == {0, 255}
        site, product, _, kind, name = path.relative_to(root).parts
        assert kind in DEFECTS[product]
        assert (root / site / product / "test" / kind / name.replace("_mask", "")).is_file()
    defective = [p for p in images if "test" in p.parts and "good" not in p.parts]
    assert len(defective) == len(masks)


def test_every_site_makes_two_or_three_products_and_each_is_made_at_three_sites() -> None:
    made = [products_of_site(site) for site in range(5)]
    assert all(2 <= len(products) <= 3 for products in made)
    assert all(sum(p in products for products in made) >= 3 for p in PRODUCTS)
    assert len(PRODUCTS) >= 3
    assert len({kind for kinds in DEFECTS.values() for kind in kinds}) >= 4
    assert products_of_site(1, ("fabric",)) == ("fabric",)
    assert site_names(5) == SITES
    assert len(set(site_names(MAX_SITES))) == MAX_SITES


@pytest.mark.parametrize(
    ("product", "kind"), [(product, kind) for product in DEFECTS for kind in DEFECTS[product]]
)
def test_the_mask_is_where_the_defect_is(product: str, kind: str) -> None:
    for site in range(5):
        condition, key = Condition.of_site(site), (0, site, 7)
        sound, nothing = render(product, condition, key)
        faulty, mask = render(product, condition, key, kind)
        assert not nothing.any() and mask.any() and mask.mean() < 0.1
        change = np.abs(faulty.astype(int) - sound.astype(int)).max(axis=-1)
        # A reflectance change below the mask's threshold of 0.02 moves a pixel by a few counts.
        assert change[~binary_dilation(mask, np.ones((3, 3)))].max() <= 11
        assert change[mask].mean() > 4


def test_sites_differ_in_light_and_material() -> None:
    conditions = [Condition.of_site(site) for site in range(25)]
    assert len(set(conditions)) == 25
    for product in PRODUCTS:
        means = np.array([render(product, c, (0,))[0].mean(axis=(0, 1)) for c in conditions[:5]])
        apart = np.abs(means[:, None] - means[None]).max(axis=-1)[~np.eye(5, dtype=bool)]
        assert apart.min() > 2


def test_every_fifth_test_image_shows_another_plant(tmp_path: Path) -> None:
    counts = {"sites": 2, "train": 1, "test_good": 7, "test_defective": 0}
    write_sample(tmp_path / "s", products=["fabric"], **counts)
    folder = tmp_path / "s" / "plant-a" / "fabric" / "test" / "good"
    own, other = Condition.of_site(0), Condition.of_site(1)
    for index in range(7):
        with Image.open(folder / f"{index:03d}.png") as image:
            shown = np.array(image)
        key = (0, 0, PRODUCTS.index("fabric"), 1, index)
        expected = render("fabric", other if index % 5 == 1 else own, key)[0]
        assert np.array_equal(shown, expected)


def test_a_complete_sample_is_left_alone(written: tuple[Path, dict]) -> None:
    root, summary = written
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    again = write_sample(root, **SMALL)
    assert not again["written"]
    assert {**again, "written": True} == summary
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


def test_an_interrupted_write_is_redone(written: tuple[Path, dict], tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == written[1]["images"]
        if done == 5:
            raise Interrupted

    root = tmp_path / "cut"
    with pytest.raises(Interrupted):
        write_sample(root, progress=stop, **SMALL)
    assert json.loads((root / "sample.json").read_text())["complete"] is False
    next(root.rglob("*.png")).write_bytes(b"half a picture")
    assert write_sample(root, **SMALL)["written"]
    assert digests(root) == digests(written[0])


def test_a_sample_with_missing_files_is_redone(tmp_path: Path) -> None:
    few = {"sites": 1, "train": 1, "test_good": 1, "test_defective": 1}
    write_sample(tmp_path / "s", **few)
    before = digests(tmp_path / "s")
    next((tmp_path / "s").glob("*/*/ground_truth/*/*.png")).unlink()
    assert write_sample(tmp_path / "s", **few)["written"]
    assert digests(tmp_path / "s") == before


def test_a_crash_before_the_first_manifest_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "sample.json.partial").write_text("{")
    few = {"sites": 1, "train": 1, "test_good": 0, "test_defective": 0}
    assert write_sample(tmp_path, **few)["written"]


def test_foreign_folders_are_refused_and_untouched(
    written: tuple[Path, dict], tmp_path: Path
) -> None:
    (tmp_path / "holiday.txt").write_text("sun")
    with pytest.raises(DataError, match="not empty and holds no sample"):
        write_sample(tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.txt"]
    with pytest.raises(DataError, match="not a folder"):
        write_sample(tmp_path / "holiday.txt", **SMALL)
    with pytest.raises(DataError, match="other parameters"):
        write_sample(written[0], **{**SMALL, "seed": 9})
    for text in ("{", "[]", "{}"):
        (tmp_path / "sample.json").write_text(text)
        with pytest.raises(DataError, match="not a sample's manifest"):
            write_sample(tmp_path, **SMALL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"sites": 0},
        {"sites": MAX_SITES + 1},
        {"train": 0},
        {"test_good": -1},
        {"products": ()},
        {"products": ("spoon",)},
        {"products": ("board", "board")},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(wrong: dict, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample"):
        write_sample(tmp_path / "s", **wrong)
    assert not (tmp_path / "s").exists()


def test_the_union_of_sites_covers_what_one_site_has_not_seen() -> None:
    """What the sample is for, in small: bank of one plant against bank of all, equal rows."""
    bank = FilterBank()

    def features(pictures: list[np.ndarray]) -> torch.Tensor:
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        return embed([bank(batch)["surface"]], neighbourhood=3)

    def scores(test: torch.Tensor, train: torch.Tensor) -> np.ndarray:
        rows = train.reshape(-1, train.shape[-1])
        rows = rows[torch.as_tensor(greedy_k_center(rows, 400, seed=0).indices)]
        return np.array(
            [torch.cdist(t.reshape(-1, t.shape[-1]), rows).min(1)[0].max() for t in test]
        )

    train = [
        features([render("fabric", Condition.of_site(s), (0, s, i))[0] for i in range(6)])
        for s in range(3)
    ]
    shown = [0, 1, 2] * 4
    test = [render("fabric", Condition.of_site(s), (1, i))[0] for i, s in enumerate(shown)]
    test += [render("fabric", Condition.of_site(0), (2, i), "hole")[0] for i in range(8)]
    test_features, truth = features(test), [0] * 12 + [1] * 8
    local = roc_auc_score(truth, scores(test_features, train[0]))
    union = roc_auc_score(truth, scores(test_features, torch.cat(train)))
    assert union > 0.9
    assert union > local + 0.1
