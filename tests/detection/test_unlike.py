"""A defect among good training images is named; nothing is of a folder without one."""

from pathlib import Path

from fedpatchcore.detection.unlike import least_alike, unlike_rest
from tests.support.parts import part


def write(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    for seed in range(count):
        part(seed, size=128).save(folder / f"{seed:02d}.png")
    return sorted(folder.iterdir())


def test_a_planted_defect_among_thirteen_good_ones(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", 13)
    assert unlike_rest("disc", paths) == []
    broken = part(13, size=128)
    broken.paste((0, 0, 0), (48, 18, 76, 34))
    broken.save(tmp_path / "a/13.png")
    heard = []
    (one,) = unlike_rest("disc", [*paths, tmp_path / "a/13.png"], done=heard.append)
    assert list(one.paths) == [tmp_path / "a/13.png"] and one.kind == "warning"
    assert sum(heard) == 14


def test_a_copy_is_no_company_and_order_does_not_matter(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", 8)
    alone = least_alike(paths)
    again = tmp_path / "a/again.png"
    again.write_bytes(paths[2].read_bytes())
    twice = least_alike([*reversed(paths), again])
    assert {path: score for path, score in twice.items() if path in alone} | {
        paths[2]: alone[paths[2]]
    } == alone


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", 8)
    (tmp_path / "a/zero.png").touch()
    scores = least_alike([*paths, tmp_path / "a/zero.png", tmp_path / "gone.png"])
    assert set(scores) == set(paths)
    assert unlike_rest("disc", paths[:5]) == []  # too few to say what is usual
