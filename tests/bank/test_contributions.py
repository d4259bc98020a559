"""Coresets on the server's disk, and banks made of them one site at a time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore import files
from fedpatchcore.aggregation import AGGREGATIONS, Donor, MergeSettings
from fedpatchcore.aggregation.common import covering_radius
from fedpatchcore.aggregation.memory import Memory, machine_memory
from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.store import Contributions
from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.memory import exact_memory, least_memory
from fedpatchcore.errors import ConfigError, CoresetError, RunError
from fedpatchcore.files import duplicate, to_bytes, to_parts
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.judge import judge
from fedpatchcore.wire.messages import SectionStats, TrainReply
from tests.support.fingerprints import UNBOUNDED

ALL = tuple(sorted(AGGREGATIONS))


def rows_of(at: int, count: int = 40) -> np.ndarray:
    noise = np.random.default_rng(at)
    modes = np.random.default_rng(99).normal(size=(8, 6)) * 10
    return (modes[np.arange(count) % 8] + noise.normal(size=(count, 6))).astype(np.float32)


def reply(
    site: str, features: np.ndarray, *, kind: str = "full", section: str = "plate"
) -> TrainReply:
    rows, patches = len(features), 100 * len(features)  # as many as coreset-ratio asks for
    stats = SectionStats(section, 9, 9, patches=patches, rows=rows, radius=0.5)
    contribution = Contribution(site, UNBOUNDED, {section: Part(features, 9, patches, 0.5)})
    return TrainReply(site, kind, contribution, (stats,))


def federation(folder: Path | None, lines: list[str] | None = None, **overrides) -> Federation:
    base = {"global_bank_size": 50, "min_sites": 3, "threads": 1}
    say = (lambda _: None) if lines is None else lines.append
    return Federation(RunConfig(**base | overrides), say=say, contributions=Contributions(folder))


# -- files ----------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["0"], ["0.features", "0.origin", "10.features", "2.origin"]])
def test_pieces_are_the_file_that_safetensors_writes(names: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        n: rng.integers(9, size=7).astype(np.int32)
        if n.endswith("origin")
        else rng.normal(size=(len(n), 3)).astype(np.float32)
        for n in names
    }
    header = {"site": 'a "quoted" näme\\', "n": 1}
    assert b"".join(to_parts(arrays, header)) == to_bytes(arrays, header)
    assert b"".join(to_parts(arrays, {})) == to_bytes(arrays, {})


def test_rows_are_read_back_as_written_all_or_the_first(tmp_path: Path) -> None:
    rows, more = rows_of(1), rows_of(2, 5)
    path = tmp_path / "c.safetensors"
    Contribution("a", UNBOUNDED, {"x": Part(rows, 3, 300, 0.1), "b": Part(more, 1, 9, 0.2)}).save(
        path
    )
    opened = Contribution.open(path)
    assert (opened.site, opened.fingerprint, opened.nbytes) == ("a", UNBOUNDED, 45 * 24)
    np.testing.assert_array_equal(opened.parts["x"].read(), rows)
    np.testing.assert_array_equal(opened.parts["x"].read(7), rows[:7])
    np.testing.assert_array_equal(opened.parts["b"].read(99), more)
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(RunError, match="cut short while the run was using it"):
        opened.parts["x"].read()  # the last in the file
    path.unlink()
    with pytest.raises(RunError, match="cannot read"):
        opened.parts["b"].read()


@pytest.mark.parametrize("linked", [True, False])
def test_a_duplicate_is_whole_even_where_disks_know_no_links(
    linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"one")
    if not linked:
        monkeypatch.setattr(
            files.os,
            "link",
            lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted")),
        )
    duplicate(tmp_path / "a", tmp_path / "b", link=True)
    duplicate(tmp_path / "a", tmp_path / "b", link=True)  # again, over the same file
    duplicate(tmp_path / "a", tmp_path / "c", link=False)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes() == b"one"
    same = (tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino
    assert same == linked
    assert (tmp_path / "a").stat().st_ino != (tmp_path / "c").stat().st_ino
    assert len(list(tmp_path.iterdir())) == 3


# -- the store ------------------------------------------------------------------------


def test_the_store_keeps_nothing_but_names_in_memory(tmp_path: Path) -> None:
    store = Contributions(tmp_path / "coresets")
    names = ["b/../x", "a", "ü" * 300, ""]
    for at, name in enumerate(names):
        store.put(reply(name, rows_of(at)).contribution)
    assert list(store) == sorted(names)
    assert not any(
        isinstance(p.features, np.ndarray) for c in store.values() for p in c.parts.values()
    )
    for at, name in enumerate(names):
        np.testing.assert_array_equal(store[name].parts["plate"].read(), rows_of(at))
    assert {p.parent for p in tmp_path.rglob("*.safetensors")} == {tmp_path / "coresets"}
    store.keep({"a"})
    assert list(store) == ["a"]
    assert len(list((tmp_path / "coresets").iterdir())) == 1


def test_a_later_delta_is_added_on_disk_and_old_checkpoints_stay(tmp_path: Path) -> None:
    store = Contributions(tmp_path / "live")
    store.put(reply("a", rows_of(1)).contribution)
    (tmp_path / "one").mkdir()
    store.save_into(tmp_path / "one")
    store.extend(reply("a", rows_of(2, 3)).contribution, {"plate", "ring"})
    store.extend(reply("b", rows_of(3, 3), section="ring").contribution, {"plate", "ring"})
    woven = store["a"].parts["plate"].read()
    both = np.concatenate([rows_of(1), rows_of(2, 3)])
    assert sorted(map(tuple, woven)) == sorted(map(tuple, both))
    assert {tuple(row) for row in woven[: len(both) // 2]} & set(map(tuple, rows_of(2, 3)))
    assert store.sections == ["plate", "ring"]
    again = Contributions(tmp_path / "other")
    again.restore(tmp_path / "one")
    np.testing.assert_array_equal(again["a"].parts["plate"].read(), rows_of(1))
    saved = tmp_path / "one" / "0000.safetensors"
    saved.write_bytes(saved.read_bytes()[:-9])
    with pytest.raises(CoresetError, match="cut short or damaged"):
        Contributions(tmp_path / "third").restore(tmp_path / "one")


# -- the federation -------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_disk_and_order_of_arrival_make_no_difference(name: str, tmp_path: Path) -> None:
    banks = []
    for at, order in enumerate([(0, 1, 2, 3, 4), (4, 2, 0, 3, 1), (0, 1, 2, 3, 4)]):
        made = federation(tmp_path / str(at) if at < 2 else None, aggregation=name)
        for site in order:
            made.accept(reply(f"s{site}", rows_of(site)))
        banks.append(made.merge(1).to_bytes())
    assert banks[0] == banks[1] == banks[2]


@pytest.mark.parametrize("name", ["federated_coreset", "diversity_preserving"])
def test_short_memory_is_told_and_what_is_told_holds(name: str, tmp_path: Path) -> None:
    lines: list[str] = []
    tight = 1.2 * max(least_memory(10, 6), 4 * 4 * 6 * 100) / 1e9
    made = federation(
        tmp_path, lines, aggregation=name, global_bank_size=10, server_memory_gb=tight
    )
    everything = [rows_of(site, 40) for site in range(30)]
    for site, rows in enumerate(everything):
        made.accept(reply(f"s{site:02d}", rows))
    section = made.merge(1).section("plate")
    facts = made.story.record["sections"]["plate"]
    offered = np.concatenate(everything)
    assert section.radius == pytest.approx(covering_radius(offered, section.features), rel=1e-6)
    for row, at in zip(section.features, section.origin, strict=True):  # provenance is true
        assert (everything[at] == row).all(1).any()
    told = " ".join(lines)
    if name == "federated_coreset":
        tree = facts["tree"]
        assert tree["exact_memory_bytes"] == exact_memory(1200, 10, 6) > tight * 1e9
        assert section.radius <= tree["radius_proved"] * (1 + 1e-6)
        assert tree["factor"] <= tree["factor_worst"]
        assert f"at most ×{tree['factor']:.3g} of the best possible: merged in a tree" in told
    else:
        assert facts["considered_rows"] < 1200
        assert f"the first {facts['considered_rows_a_site']} of each site" in told
        assert facts["considered_rows"] == 30 * facts["considered_rows_a_site"]


def test_enough_memory_is_no_tree(tmp_path: Path) -> None:
    made = federation(tmp_path, server_memory_gb=exact_memory(200, 50, 6) / 1e9)
    for site in range(5):
        made.accept(reply(f"s{site}", rows_of(site)))
    bank = made.merge(1)
    assert "tree" not in made.story.record["sections"]["plate"]
    free = federation(None)
    for site in range(5):
        free.accept(reply(f"s{site}", rows_of(site)))
    assert bank.to_bytes() == free.merge(1).to_bytes()


@pytest.mark.parametrize("name", ["coordinate_median", "geometric_median"])
def test_medians_refuse_what_would_not_fit(name: str, tmp_path: Path) -> None:
    made = federation(tmp_path, aggregation=name, server_memory_gb=1e-5)
    for site in range(5):
        made.accept(reply(f"s{site}", rows_of(site)))
    with pytest.raises(ConfigError, match=rf"{name}, which needs all rows at once, takes about"):
        made.merge(1)


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=8),
    size=st.integers(1, 20),
    weighted=st.booleans(),
    room=st.floats(1, 3),
)
def test_a_tree_keeps_the_promises_of_the_merge(
    sizes: list[int], size: int, weighted: bool, room: float
) -> None:
    donors = [Donor(f"s{at}", rows_of(at, n), 3 * at + 1) for at, n in enumerate(sizes)]
    bytes_ = int(room * least_memory(size, 6))
    merged = AGGREGATIONS["federated_coreset"](
        donors, MergeSettings(size, weighted, memory=Memory(bytes_, bytes_))
    )
    assert len(merged.features) == len(merged.origin) <= size
    for row, at in zip(merged.features, merged.origin, strict=True):
        assert (donors[at].features == row).all(1).any()
    if not weighted:
        everything = np.concatenate([d.features for d in donors])
        expected = covering_radius(everything, merged.features)
        assert merged.radius == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_sites_are_compared_by_as_many_rows_as_fit(tmp_path: Path) -> None:
    lines: list[str] = []
    tight = 5 * 100 * 4 * 4 * 6 / 1e9  # 100 rows of each of five sites
    made = federation(
        tmp_path, lines, robustness_enabled=True, on_outlier="exclude", server_memory_gb=tight
    )
    for site in range(5):
        rows = rows_of(site, 300)
        made.accept(reply(f"s{site}", rows * -1 if site == 3 else rows))
    found = judge(made.contributions, made.config)
    assert found.excluded == {"s3"}
    assert "compared by their first 100 rows each" in found.notes[0]
    bank = made.merge(1)
    assert 3 not in bank.section("plate").origin
    assert found.notes[0] in lines
    with pytest.raises(ConfigError, match=r"comparing 5 sites, 64 rows of each, takes"):
        judge(made.contributions, made.config.model_copy(update={"server_memory_gb": tight / 2}))


def test_one_bad_site_among_a_thousand_is_rejected_alone(tmp_path: Path) -> None:
    made = federation(tmp_path, global_bank_size=20)
    for at in range(1000):
        rows = rows_of(at, 4)
        if at == 500:
            rows[2, 3] = np.nan
            with pytest.raises(CoresetError, match="site 's0500' holds NaN"):
                made.accept(reply(f"s{at:04d}", rows))
            made.reject(f"s{at:04d}", "NaN")
            continue
        made.accept(reply(f"s{at:04d}", rows))
    bank = made.merge(1)
    assert len(bank.sites) == 999
    assert "s0500" not in bank.sites
    assert len(list(tmp_path.iterdir())) == 999


# -- memory ---------------------------------------------------------------------------


def test_automatic_memory_and_its_limit(tmp_path: Path) -> None:
    assert Memory.of(0, 64 * 10**9) == Memory(2 * 10**9, 32 * 10**9)
    assert Memory.of(0, 4 * 10**9) == Memory(10**9, 2 * 10**9)
    assert Memory.of(0.5, 64 * 10**9) == Memory(5 * 10**8, 5 * 10**8)
    automatic = Memory.of(0, 4 * 10**9)
    assert automatic.require(10**8, "it", "") == 10**9
    assert automatic.require(15 * 10**8, "it", "") == 15 * 10**8
    with pytest.raises(ConfigError, match=r"it takes about 3 GB of memory and 2 GB are allowed"):
        automatic.require(3 * 10**9, "it", "")
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "limit").write_text("123456\n")
    assert machine_memory(tmp_path / "limit") == 123456
    assert machine_memory(tmp_path / "max") == machine_memory(tmp_path / "none") > 10**8
