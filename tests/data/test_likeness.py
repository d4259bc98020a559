"""Copies of a shot are found, other parts are left alone, whatever the order."""

from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.data.images import load_image
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.likeness import alike, details, near_pairs
from tests.support.imagefiles import write_grey
from tests.support.parts import altered, part
from tests.support.places import BENCHMARKS


def names(paths: list[Path]) -> list[list[str]]:
    return sorted(sorted(paths[at].name for at in one) for one in alike(paths, load_image))


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> list[Path]:
    """Sixteen parts, each in the same place under the camera."""
    folder = tmp_path_factory.mktemp("parts")
    for seed in range(16):
        part(seed).save(folder / f"part{seed:02d}.png")
    return sorted(folder.iterdir())


def test_parts_that_look_alike_are_no_copies(parts) -> None:
    assert names(parts) == []
    assert names(parts[:5]) == []


@pytest.mark.parametrize("how", ["jpeg90", "jpeg50", "moved1", "brighter", "smaller"])
@pytest.mark.parametrize("count", [2, 5, 16])
def test_another_file_of_a_shot_is_found(parts, tmp_path, how, count) -> None:
    altered(part(1), how).save(tmp_path / "copy.png")
    assert names([*parts[:count], tmp_path / "copy.png"]) == [["copy.png", "part01.png"]]


def test_a_part_that_was_turned_is_none(parts, tmp_path) -> None:
    altered(part(1), "turned").save(tmp_path / "turned.png")
    assert names([*parts, tmp_path / "turned.png"]) == []


def test_order_does_not_matter(parts, tmp_path) -> None:
    for seed, how in ((1, "jpeg90"), (1, "moved1"), (4, "brighter")):
        altered(part(seed), how).save(tmp_path / f"{seed}{how}.png")
    paths = [*parts, *tmp_path.iterdir()]
    expected = [["1jpeg90.png", "1moved1.png", "part01.png"], ["4brighter.png", "part04.png"]]
    for seed in range(3):
        shuffled = [paths[at] for at in np.random.default_rng(seed).permutation(len(paths))]
        assert names(shuffled) == expected


def test_no_set_holds_more_than_a_quarter(tmp_path) -> None:
    """Ten shots of one part among twelve images: what they share is not what tells them apart."""
    for at in range(10):
        altered(part(1), f"jpeg{95 - at}").save(tmp_path / f"a{at}.png")
    part(2).save(tmp_path / "b.png")
    part(3).save(tmp_path / "c.png")
    sets = names(sorted(tmp_path.iterdir()))
    assert all(len(one) <= 3 for one in sets)


def test_unreadable_and_blank_images(parts, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    grey = [write_grey(tmp_path / f"grey{at}.png", 90 + at, (80, 80)) for at in range(2)]
    assert names([*parts[:6], tmp_path / "broken.png"]) == []
    assert names([*parts[:6], *grey]) == [["grey0.png", "grey1.png"]]
    assert names([]) == names(parts[:1]) == names([tmp_path / "broken.png"]) == []


def test_distances_are_of_both_sides_and_tell_a_copy_from_a_part() -> None:
    small = np.stack(
        [np.asarray(part(s).convert("L").resize((64, 64)), np.float32) for s in (0, 1)]
    )
    moved = small[0] + 0.3 * np.gradient(small[0], axis=1)
    found = {(a, b): far for a, b, far in near_pairs(details(np.stack([*small, moved])))}
    assert set(found) == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert found[0, 2] < 0.01 and found[2, 0] < 0.01
    assert found[0, 1] > 0.03


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason=f"no benchmark data at {BENCHMARKS}")
def test_two_shots_of_one_cookie_are_found() -> None:
    """Looked at: the same cookie, a lamp moved between the shots; no other is twice there."""
    cookie = discover(BENCHMARKS / "cookie")["cookie"]
    assert names(list(cookie.train)) == [["normal-1.png", "normal-2.png"]]
