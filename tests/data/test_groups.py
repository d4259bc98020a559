"""Images that belong together, by each way to say so."""

from pathlib import Path

import pytest

from fedpatchcore.data.groups import group_images, named_groups
from fedpatchcore.data.images import list_images
from fedpatchcore.data.layouts.discovery import discover, overlooked
from fedpatchcore.errors import ConfigError, DataError
from tests.support.imagefiles import write_grey
from tests.support.parts import altered, part

TILES = [Path(f"t/exp{e}_num_{n}.jpg") for e in (1, 2) for n in (7, 8, 9)]


def sets(groups) -> list[list[str]]:
    """Names of each group's images, of images by themselves too."""
    found: dict[str, list[str]] = {}
    for path, label in groups.of.items():
        found.setdefault(label, []).append(path.name)
    return sorted(map(sorted, found.values()))


def test_by_pattern() -> None:
    groups = group_images(TILES, group_by=r"^(exp\d+)_num_(\d+)")
    assert groups.of[TILES[0]] == "exp1" and groups.alone == frozenset()
    assert [len(one) for one in sets(groups)] == [3, 3]
    assert groups.how == r"2 groups by file name pattern '^(exp\d+)_num_(\d+)' (largest 3 images)"
    whole = group_images(TILES, group_by=r"num_\d+")
    assert set(whole.of.values()) == {"num_7", "num_8", "num_9"}


def test_images_that_a_pattern_does_not_match_are_by_themselves_and_counted() -> None:
    groups = group_images([*TILES, Path("t/spare.jpg"), Path("t/x.jpg")], group_by=r"^(exp\d)?.*_")
    assert groups.alone == {Path("t/spare.jpg"), Path("t/x.jpg")}
    assert groups.how.endswith("2 of 8 images by themselves")
    assert len(set(groups.of.values())) == 4


def test_patterns_that_are_none_or_match_nothing_say_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"group-by='\(exp' is neither auto, none nor folder"):
        group_images(TILES, group_by="(exp")
    with pytest.raises(DataError, match="no group by file name pattern 'lot' among 6.*exp1_num_7"):
        group_images(TILES, group_by="lot")
    with pytest.raises(DataError, match="all 6 images are one group by file name pattern 'exp'"):
        group_images(TILES, group_by="exp")


def test_none_takes_every_image_by_itself(tmp_path) -> None:
    for name in "ab":
        write_grey(tmp_path / f"{name}.png")
    groups = group_images(list_images(tmp_path), group_by="none")
    assert len(set(groups.of.values())) == 2 and groups.how == ""
    assert group_images([], group_by="none").of == {}


@pytest.mark.parametrize("group_by", ["", "auto"])
def test_near_identical_images_are_one_group_and_that_is_said(tmp_path, group_by) -> None:
    for seed in range(8):
        part(seed).save(tmp_path / f"{seed}.png")
    assert group_images(list_images(tmp_path), group_by=group_by).how == ""
    altered(part(3), "jpeg80").save(tmp_path / "again.png")
    groups = group_images(list_images(tmp_path), group_by=group_by)
    assert ["3.png", "again.png"] in sets(groups) and len(sets(groups)) == 8
    assert groups.how == "1 group of near-identical images (2 of 9 images)"
    assert group_images(reversed(list_images(tmp_path)), group_by=group_by) == groups


def test_a_table_goes_first_and_files_by_another_way_are_known(tmp_path) -> None:
    paths = [write_grey(tmp_path / "real" / f"{n}.png") for n in "abc"]
    (tmp_path / "link").symlink_to(tmp_path / "real")
    named = {tmp_path / "link" / "a.png": "lot 1", tmp_path / "link" / "b.png": "lot 1"}
    groups = group_images(paths, group_by="none", named=named)
    assert sets(groups) == [["a.png", "b.png"], ["c.png"]]
    assert (
        groups.how == "1 group that the table names (largest 2 images), 1 of 3 images by themselves"
    )
    elsewhere = {tmp_path / "other.png": "lot 1"}
    assert len(sets(group_images(paths, group_by="none", named=elsewhere))) == 3


def test_a_sites_table_is_relative_to_its_data_or_to_itself(tmp_path) -> None:
    data, plans = tmp_path / "data", tmp_path / "plans"
    write_grey(data / "a.png")
    write_grey(plans / "b.png")
    table = plans / "groups.csv"
    table.write_text("file,group\na.png,1\n")
    assert named_groups(table, data) == {data / "a.png": "1"}
    table.write_text("file,group\nb.png,1\n")
    assert named_groups(table, data) == {plans / "b.png": "1"}
    table.write_text("file,group\nc.png,1\n")
    with pytest.raises(DataError, match=r"line 2: no file .*data/c.png"):
        named_groups(table, data)


def folders(root: Path) -> Path:
    for name in ("lot1/a", "lot1/b", "lot2/deep/a", "c"):
        write_grey(root / "bolt/train/good" / f"{name}.png")
    write_grey(root / "bolt/test/dent/d.png")
    return root


def test_by_folder(tmp_path) -> None:
    (bolt,) = discover(folders(tmp_path), deep=True).values()
    groups = group_images(bolt.train, roots=[bolt.training_folder], group_by="folder")
    assert sets(groups) == [["a.png"], ["a.png", "b.png"], ["c.png"]]
    assert groups.how == "2 groups by folder (largest 2 images), 1 of 4 images by themselves"
    assert sets(group_images(bolt.train, group_by="folder")) == sets(groups)
    with pytest.raises(DataError, match="no group by folder among 1 images"):
        group_images(bolt.train[:1], group_by="folder")


def test_images_in_sub_folders_are_used_or_it_is_said(tmp_path) -> None:
    found = discover(folders(tmp_path))
    assert [path.name for path in found["bolt"].train] == ["c.png"]
    assert overlooked(found.values()).startswith("3 images in sub-folders of")
    assert "group-by='folder'" in overlooked(found.values())
    assert overlooked(discover(tmp_path, deep=True).values()) == ""


def test_sub_folders_of_a_plain_product(tmp_path) -> None:
    write_grey(tmp_path / "nut/a.png")
    write_grey(tmp_path / "nut/lot1/b.png")
    assert "1 image in sub-folders" in overlooked(discover(tmp_path).values())
    assert len(discover(tmp_path, deep=True)["nut"].train) == 2


def test_defects_in_a_sub_folder_are_not_learnt(tmp_path) -> None:
    write_grey(folders(tmp_path) / "bolt/train/good/NOK/e.png")
    with pytest.raises(DataError, match="images in a folder NOK would be learnt as good"):
        discover(tmp_path, deep=True)


def test_links_in_a_circle_end(tmp_path) -> None:
    write_grey(tmp_path / "lot/a.png")
    (tmp_path / "lot/again").symlink_to(tmp_path)
    (tmp_path / "lot/other").symlink_to(tmp_path / "lot")
    assert list_images(tmp_path, recursive=True) == (tmp_path / "lot/a.png",)
