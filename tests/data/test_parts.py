"""What is judged of the files and folders that are given, and by what names it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.data.parts import find_parts
from fedpatchcore.errors import DataError
from tests.support.imagefiles import write_grey


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "a.png",
        "a.JPG",
        "note.txt",
        "sub1/a.png",
        "sub1/deep/b.png",
        "sub1/Ground_Truth/crack/m.png",
        "sub2/a.png",
        "sub2/.thumbs/a.png",
    ):
        if name.endswith((".txt", ".JPG")):
            (tmp_path / name).write_text("whatever")
        else:
            write_grey(tmp_path / name)
    return tmp_path


def test_a_folder_is_walked_to_the_bottom(tree: Path) -> None:
    found = find_parts([tree])
    names = ["a.JPG", "a.png", "sub1/a.png", "sub1/deep/b.png", "sub2/a.png"]
    assert found.images == {tree / name: name for name in names}
    assert list(found.images.values()) == names
    assert found.left_out == {
        tree / "sub1/Ground_Truth": "masks",
        tree / "sub2/.thumbs": "hidden",
    }


def test_a_picture_of_a_kind_that_is_not_read_is_not_passed_over(tree: Path) -> None:
    (tree / "sub2/b.GIF").write_text("whatever")
    assert list(find_parts([tree / "sub2"]).images.values()) == ["a.png", "b.GIF"]


def test_a_folder_given_itself_is_entered(tree: Path) -> None:
    assert list(find_parts([tree / "sub1/Ground_Truth"]).images.values()) == ["crack/m.png"]
    assert list(find_parts([tree / "sub2/.thumbs"]).images.values()) == ["a.png"]


def test_names_of_several_start_where_their_ways_part(tree: Path) -> None:
    given = [tree / "sub2" / "a.png", tree / "sub1", tree / "sub2"]
    found = find_parts(given)
    assert list(found.images.values()) == ["sub2/a.png", "sub1/a.png", "sub1/deep/b.png"]
    assert find_parts(reversed(given)).images == found.images  # whatever the order
    assert list(find_parts([tree / "note.txt"]).images.values()) == ["note.txt"]
    assert find_parts([]).images == {}


def test_the_same_from_within(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "sub1")
    assert find_parts([Path()]).images == {Path("a.png"): "a.png", Path("deep/b.png"): "deep/b.png"}
    found = find_parts([Path("a.png"), Path("../sub2/a.png")]).images
    assert list(found.values()) == ["sub1/a.png", "sub2/a.png"]


def test_links_are_followed_but_not_in_a_circle(tree: Path) -> None:
    (tree / "sub2" / "up").symlink_to(tree)
    (tree / "sub2" / "there").symlink_to(tree / "sub1" / "deep")
    found = find_parts([tree / "sub2"])
    assert list(found.images.values())[:2] == ["a.png", "there/b.png"]
    assert len(set(found.images.values())) == len(found.images)
    assert "leads back to a folder above it" in found.left_out.values()
    assert not any(".." in name or name.startswith("/") for name in found.images.values())


def test_the_folder_of_heatmaps_is_left_out(tree: Path) -> None:
    found = find_parts([tree], but=tree / "sub1" / ".." / "sub2")
    assert not any(name.startswith("sub2") for name in found.images.values())
    assert found.left_out[tree / "sub2"] == "heatmaps"


def test_a_folder_that_is_not_there_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    """Whether a path is to be an image or a folder nobody can tell; judging names it."""
    assert list(find_parts([tmp_path / "absent"]).images) == [tmp_path / "absent"]


def test_a_folder_that_cannot_be_listed_is_named(tree: Path, monkeypatch) -> None:
    import os

    def scandir(path):
        if not isinstance(path, int) and Path(path).name == "deep":
            raise PermissionError(13, "Permission denied")
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="deep: cannot be listed"):
        find_parts([tree])
