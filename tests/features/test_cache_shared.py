"""A cache that several processes use: what one removes is no fault to another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.features.cache import SiteCache

KB = 1e-6  # GB


def vanishing(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files go as they are looked at, each second one: another process makes room."""
    real, gone = Path.stat, []
    seen: set[str] = set()

    def stat(path: Path, **how: object):
        if path.suffix == ".safetensors" and path.name not in seen:
            seen.add(path.name)
            if len(seen) % 2:
                path.unlink(missing_ok=True)
                gone.append(path)
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    return gone


def filled(root: Path, limit: float) -> SiteCache:
    cache = SiteCache(root, limit)
    for at in range(8):
        assert cache.put(f"{at:064x}", {"a": np.zeros(250, np.float32)})
    return cache


def test_a_cache_opens_while_another_process_removes_from_it(tmp_path: Path, monkeypatch) -> None:
    filled(tmp_path, 100 * KB)
    gone = vanishing(monkeypatch)
    cache = SiteCache(tmp_path, 100 * KB)
    assert len(gone) == 4
    monkeypatch.undo()
    left = sum(path.stat().st_size for path in tmp_path.glob("*/*.safetensors"))
    assert cache._size == left > 0
    assert cache.put("f" * 64, {"a": np.zeros(250, np.float32)})


def test_room_is_made_while_another_process_makes_it(tmp_path: Path, monkeypatch, caplog) -> None:
    cache = filled(tmp_path, 12 * KB)
    gone = vanishing(monkeypatch)
    assert cache.put("f" * 64, {"a": np.zeros(1500, np.float32)})
    assert gone and not caplog.records  # and it goes on keeping
    monkeypatch.undo()
    assert cache.get("f" * 64) is not None
