"""What the product writes is its user's alone, and no name that others could take is trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.files import for_owner_alone, own_folder, private_folder, write_atomically
from fedpatchcore.server.folders import new_folder
from fedpatchcore.server.runfolder import RunFolder


@pytest.fixture(autouse=True)
def usual():
    """The umask that most people have."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_made_inside_are_the_owners(tmp_path: Path) -> None:
    with for_owner_alone():
        write_atomically(tmp_path / "a" / "b" / "file", b"x")
    assert [mode(tmp_path / p) for p in ("a", "a/b", "a/b/file")] == [0o700, 0o700, 0o600]
    write_atomically(tmp_path / "after", b"x")
    assert mode(tmp_path / "after") == 0o644


def test_cache_and_run_folders_are_closed_even_if_they_were_open(tmp_path: Path) -> None:
    for folder in ("cache", "runs/open"):
        (tmp_path / folder).mkdir(parents=True)
    SiteCache(tmp_path / "cache", 1.0).put("ab" * 32, {"x": np.zeros(3)})
    for name in ("open", "new"):
        run = RunFolder.create(tmp_path / "runs", name, RunConfig().table())
        assert mode(run.path) == 0o700
    assert mode(tmp_path / "cache") == 0o700
    assert mode(new_folder(tmp_path / "runs")) == 0o700
    assert mode(tmp_path / "runs") == 0o755  # the user's own folder stays as it is


def test_a_private_folder_closes_the_way_it_makes(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700


def test_a_scratch_folder_is_made_fresh_or_is_ones_own(tmp_path: Path) -> None:
    assert mode(own_folder(tmp_path / "new", error=ConfigError)) == 0o700
    (tmp_path / "mine").mkdir(mode=0o777)
    assert mode(own_folder(tmp_path / "mine", error=ConfigError)) == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "file").write_text("")
    for taken in ("link", "file"):
        with pytest.raises(ConfigError, match="name a folder of your own"):
            own_folder(tmp_path / taken, error=ConfigError)
    if os.geteuid() == 0:
        os.chown(tmp_path / "mine", 12345, 12345)
        with pytest.raises(ConfigError, match="another user's"):
            own_folder(tmp_path / "mine", error=ConfigError)
