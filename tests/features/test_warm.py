"""A cache in memory: bounded, shared read-only, never older than the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.features.warm import OVERHEAD, Warm
from tests.support.products import picture

KB = 1000


def entry(size: int = KB, fill: int = 1) -> dict[str, np.ndarray]:
    return {"features": np.full(size, fill, np.uint8)}


def test_the_least_recently_used_entry_gives_way() -> None:
    warm = Warm(3 * (KB + OVERHEAD))
    for key in "abc":
        warm.put(key, {}, entry())
    assert warm.get("a") is not None  # used: the oldest is b now
    warm.put("d", {}, entry())
    assert [warm.get(key) is not None for key in "abcd"] == [True, False, True, True]
    assert warm.nbytes == 3 * (KB + OVERHEAD) == warm.limit


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from(["put", "get", "drop"]), st.integers(0, 9)
        )
    ),
    limit=st.integers(0, 20_000),
)
def test_the_bound_holds_and_the_count_is_what_is_held(steps, limit) -> None:
    warm, last = Warm(limit), {}
    for key, what, size in steps:
        if what == "put":
            warm.put(key, {"size": size}, entry(size * KB, size))
            last[key] = size
        elif what == "drop":
            warm.drop(key)
            last.pop(key, None)
        elif (found := warm.get(key)) is not None:  # the newest under this key, or nothing
            assert found[0] == {"size": last[key]}
            assert found[1]["features"].tolist() == [last[key]] * last[key] * KB
        held = [warm.get(key) for key in "abcd"]
        held = [one[1]["features"].nbytes + OVERHEAD for one in held if one is not None]
        assert warm.nbytes == sum(held) <= limit
        assert len(warm) == len(held)
    warm.clear()
    assert (len(warm), warm.nbytes) == (0, 0)


def test_what_is_too_large_is_not_kept_nor_is_what_it_replaces() -> None:
    warm = Warm(2 * KB + OVERHEAD)
    warm.put("a", {}, entry())
    warm.put("a", {}, entry(3 * KB))
    assert warm.get("a") is None
    assert warm.nbytes == 0
    nothing = Warm(0)
    nothing.put("a", {}, {})
    assert nothing.get("a") is None


def test_nobody_can_change_what_others_get() -> None:
    warm, mine = Warm(100 * KB), np.zeros(8)
    warm.put("a", {"n": 1}, {"x": mine})
    mine[:] = 7  # its maker goes on with it
    header, found = warm.get("a")
    assert found["x"].tolist() == [0] * 8
    with pytest.raises(ValueError, match="read-only"):
        found["x"][0] = 1
    with pytest.raises(ValueError, match="read-only"):
        found["x"] += 1
    assert header == {"n": 1}


def test_one_image_of_a_batch_holds_itself_alone() -> None:
    warm = Warm(100 * KB)
    batch = np.zeros((8, KB), np.uint8)
    for at, one in enumerate(batch):
        warm.put(at, {}, {"features": one})
    assert warm.nbytes == 8 * (KB + OVERHEAD)
    whole = batch.view()
    whole.flags.writeable = False
    warm.clear()
    warm.put("view", {}, {"features": whole[0]})  # shared with its maker: all of it stays
    assert warm.nbytes == 8 * KB + OVERHEAD


def test_empty_entries_are_entries(tmp_path: Path) -> None:
    """No header, no arrays, arrays without rows: falsy, but there."""
    warm = Warm(100 * KB)
    warm.put("a", {}, {})
    assert warm.get("a") == ({}, {})
    cache = SiteCache(tmp_path, 1.0, warm=warm)
    assert cache.put("k", {"x": np.zeros((0, 4), np.float32)})
    assert len(warm) == 2
    header, arrays = cache.get("k")
    assert (header, arrays["x"].shape) == ({}, (0, 4))
    empty = Warm(100 * KB)  # of length 0, and yet the one that was handed over
    assert SiteCache(tmp_path, 1.0, warm=empty).get("k") is not None
    assert len(empty) == 1


def test_the_disk_decides(tmp_path: Path) -> None:
    """What was removed there is gone; what could not be written there is not kept either."""
    warm = Warm(100 * KB)
    cache = SiteCache(tmp_path, 1.0, warm=warm)
    cache.put("kk", entry(fill=1))
    cache.put("kk", entry(fill=2))
    assert cache.get("kk")[1]["features"][0] == 2
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()
    assert cache.get("kk") is None
    cache.put("kk", entry(fill=3))
    assert cache.get("kk")[1]["features"][0] == 3


def test_a_warm_entry_is_not_read_from_disk_and_is_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SiteCache(tmp_path, 1.0).put("kk", entry(fill=5), {"of": "plate"})
    cache = SiteCache(tmp_path, 1.0, warm=Warm(100 * KB))
    cold = cache.get("kk")
    monkeypatch.setattr("fedpatchcore.features.cache.read_arrays", None)  # calling it would fail
    warm = cache.get("kk")
    assert cold[0] == warm[0] == {"of": "plate"}
    assert np.array_equal(cold[1]["features"], warm[1]["features"])
    assert not cold[1]["features"].flags.writeable


def test_an_extraction_from_memory_is_the_one_from_images(backbone, tmp_path: Path) -> None:
    files = [tmp_path / f"{at}.png" for at in range(5)]
    for at, file in enumerate(files):
        picture(at).save(file)
    warm = Warm(10**8)
    tool = Extractor(
        backbone, batch_size=2, cache=SiteCache(tmp_path / "cache", 1.0, warm=warm), workers=2
    )
    first, _, tally = tool.all(files)
    first = first.dense()
    assert (tally.extracted, len(warm)) == (5, 5)
    tally = Tally()
    again = [features for _, features in tool.stream(files, tally)]
    assert (tally.extracted, tally.cached) == (0, 5)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert warm.nbytes == 5 * (first[0].nbytes + OVERHEAD)
