"""A bank that travels as what changed: whatever a site holds, it ends with the published bank."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.errors import BankError, NeedsFullBank
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.wire import held as held_module
from fedpatchcore.wire.delta import PIECES, Broadcast, digest
from fedpatchcore.wire.encoding import allowance, squeeze
from fedpatchcore.wire.held import HeldBank
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from tests.support.names import NAMES

WIRES = ("float32", "float16", "int8", "pq")
DIMENSION = 16
POOL = np.random.default_rng(3).gamma(1.0, 1.0, (600, DIMENSION)).astype(np.float32)


@pytest.fixture(scope="module")
def made(backbone) -> Callable[..., MemoryBank]:
    """A bank of rows of the pool, named by number."""
    fingerprint: Fingerprint = backbone.fingerprint.model_copy(update={"dimension": DIMENSION})

    def make(sections: dict[str, list[int]], **more) -> MemoryBank:
        parts = {
            name: Section(
                POOL[rows], (np.array(rows) % 3).astype(np.int32), 0.5, 0.75, {"north": 3}
            )
            for name, rows in sections.items()
        }
        return MemoryBank(fingerprint, parts, NAMES, **more)

    return make


@pytest.fixture
def held(tmp_path: Path) -> HeldBank:
    return HeldBank(SiteCache(tmp_path, 1.0), "south")


def same(one: MemoryBank, other: MemoryBank) -> bool:
    return one.to_bytes() == other.to_bytes()


def farthest(bank: MemoryBank, seen: MemoryBank, name: str = "plate") -> float:
    off = bank.sections[name].features.astype(float) - seen.sections[name].features
    return float(np.linalg.norm(off, axis=1).max())


rows = st.lists(st.integers(0, 250), min_size=1, max_size=160)
banks = st.dictionaries(st.sampled_from(["plate", "ring", "bolt"]), rows, min_size=1)


@hypothesis_settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    versions=st.lists(banks, min_size=1, max_size=5),
    wire=st.sampled_from(WIRES),
    slow=st.integers(1, 3),
)
def test_any_history_ends_with_the_published_bank(made, tmp_path_factory, versions, wire, slow):
    """Rows removed, added, repeated, reordered; sections that come and go; sites that lag."""
    broadcast = Broadcast(wire)
    folder = tmp_path_factory.mktemp("caches")
    steady, lagging = (HeldBank(SiteCache(folder / n, 1.0), n) for n in ("steady", "lagging"))
    for number, sections in enumerate(versions):
        merged = made(sections, round=number)
        bank = broadcast.publish(merged)
        for name in sections:
            error = broadcast.errors.get(name, 0.0)
            assert farthest(merged, bank, name) <= error or not error
            grown = bank.sections[name].radius - merged.sections[name].radius
            assert grown == pytest.approx(error, abs=1e-12)
            assert bank.sections[name].covers == merged.sections[name].covers + error
        with_thresholds = bank.with_thresholds({"plate": {"north": 0.25 + number}})
        for current in (bank, with_thresholds):
            assert same(steady.receive(broadcast.packet(current, holds=steady.digest)), current)
        if number % slow == 0:
            packet = broadcast.packet(bank, holds=lagging.digest)
            assert same(lagging.receive(packet), bank)
        nobody = HeldBank(None, "new")
        assert same(nobody.receive(broadcast.packet(bank, holds="unheard of")), bank)
        assert nobody.digest == ""


@pytest.mark.parametrize("wire", WIRES)
def test_a_delta_costs_what_is_new_and_a_known_bank_costs_its_header(made, held, wire) -> None:
    broadcast = Broadcast(wire)
    first = broadcast.publish(made({"plate": list(range(500)), "ring": list(range(300))}))
    whole = broadcast.packet(first, holds=held.digest)
    held.receive(whole)
    told = broadcast.packet(first.with_thresholds({"plate": {"west": 1.0}}), holds=held.digest)
    assert not told.arrays
    assert held.receive(told).thresholds == {"plate": {"west": 1.0}}
    # 20 rows go, 20 others come, the rest stands in another order; ring is as it was
    now = [*range(599, 579, -1), *range(480)[::-1]]
    second = broadcast.publish(made({"plate": now, "ring": list(range(300))}, round=2))
    packet = broadcast.packet(second, holds=held.digest)
    assert {key[0] for key in packet.arrays} == {"0"}
    assert json.loads(packet.texts["wire"])["sections"][1] == {"name": "ring", "same": True}
    assert packet.nbytes < 0.25 * broadcast.packet(second).nbytes
    kept = held.receive(packet)
    assert same(kept, second)
    old = first.sections["plate"].features[:480]
    assert np.array_equal(kept.sections["plate"].features[20:], old[::-1])  # to the bit


METRIC = np.random.default_rng(5).normal(size=(DIMENSION, 4)).astype(np.float32)


@pytest.mark.parametrize("wire", WIRES)
def test_a_metric_travels_exactly(made, held, wire) -> None:
    """In full, as a part of a delta, unchanged under unchanged rows, changed under them, gone."""

    def published(rows: list[int], metric: np.ndarray | None, at: int) -> MemoryBank:
        bank = made({"plate": rows, "ring": list(range(300))}, round=at)
        part = replace(bank.sections["plate"], metric=metric)
        return broadcast.publish(replace(bank, sections={**bank.sections, "plate": part}))

    broadcast, rows = Broadcast(wire), list(range(200))
    for at, (now, metric) in enumerate(
        [
            (rows, METRIC),
            (rows, METRIC),
            (rows, METRIC * np.float32(1.5)),
            (rows[5:] + [400], METRIC * np.float32(1.5)),
            (rows[5:] + [400], METRIC[:, :2].copy()),
            (rows[5:] + [400], None),
            (rows, METRIC),
        ]
    ):
        bank = published(now, metric, at)
        packet = broadcast.packet(bank, holds=held.digest)
        assert same(held.receive(packet), bank)
        assert same(HeldBank(None, "new").receive(broadcast.packet(bank)), bank)
        assert ("0.metric" in packet.arrays) == (metric is not None and at != 1)
        told = bank.sections["plate"].metric
        assert told is metric or np.array_equal(told, metric)


def test_virtual_sites_keep_one_copy_of_the_rows(made, tmp_path: Path) -> None:
    cache, broadcast = SiteCache(tmp_path, 1.0), Broadcast("int8")
    sites = [HeldBank(cache, f"site-{at}", shared=True) for at in range(20)]
    bank = broadcast.publish(made({"plate": list(range(200))}))

    def large() -> list[Path]:
        found = tmp_path.rglob("*.safetensors")
        return [p for p in found if p.stat().st_size > bank.nbytes / 2]

    for site in sites[:-1]:
        site.receive(broadcast.packet(bank, holds=site.digest))
    assert len(large()) == 1
    assert [site.digest for site in sites].count("") == 1  # the last one was not asked
    second = broadcast.publish(made({"plate": list(range(10, 210))}, round=2))
    for site in sites[:10]:
        assert same(site.receive(broadcast.packet(second, holds=site.digest)), second)
    assert len(large()) == 2  # ten are still at the first
    delta = broadcast.packet(second, holds=sites[12].digest)
    assert delta.nbytes < broadcast.packet(second).nbytes / 2
    with pytest.raises(NeedsFullBank):
        sites[-1].receive(delta)  # rows that others hold are not its own
    assert same(sites[12].receive(delta), second)
    for path in large():
        path.unlink()
    with pytest.raises(NeedsFullBank):
        sites[13].receive(delta)
    assert same(sites[13].receive(broadcast.packet(second)), second)
    assert len(large()) == 1


def test_float32_to_a_site_that_holds_nothing_is_the_message_it_always_was(made) -> None:
    bank = made({"plate": [1, 2, 3], "ring": [4]})
    packet, plain = Broadcast("float32").packet(bank), pack(bank)
    assert packet.texts == plain.texts == {"bank": json.dumps(bank.header(), sort_keys=True)}
    assert list(packet.arrays) == ["0.features", "0.origin", "1.features", "1.origin"]
    assert all(np.array_equal(packet.arrays[k], plain.arrays[k]) for k in plain.arrays)
    assert packet.arrays["0.features"] is bank.sections["plate"].features
    assert Broadcast("float32").publish(bank) is bank


def test_a_delta_that_saves_nothing_is_not_sent(made, held) -> None:
    broadcast = Broadcast("float32")
    held.receive(broadcast.packet(broadcast.publish(made({"plate": list(range(100))}))))
    other = broadcast.publish(made({"plate": list(range(300, 400))}))
    assert "wire" not in broadcast.packet(other, holds=held.digest).texts


def test_sites_with_the_same_bank_share_one_packet(made, held) -> None:
    broadcast = Broadcast("int8")
    first = broadcast.publish(made({"plate": list(range(200))}))
    held.receive(broadcast.packet(first))
    second = broadcast.publish(made({"plate": list(range(10, 210))}))
    one = broadcast.packet(second, holds=held.digest)
    assert broadcast.packet(second, holds=held.digest) is one
    assert broadcast.packet(second) is broadcast.packet(second, holds="nonsense") is not one


def test_rows_keep_their_bits_over_many_rounds_until_all_are_encoded_anew(made, held) -> None:
    broadcast, numbers, before = Broadcast("int8"), list(range(200)), None
    for at in range(PIECES + 3):
        bank = broadcast.publish(made({"plate": numbers}, round=at))
        if before:
            shared = bank.sections["plate"].features[:-10], before.sections["plate"].features[10:]
            assert np.array_equal(*shared) == (at != PIECES)
        assert same(held.receive(broadcast.packet(bank, holds=held.digest)), bank)
        assert same(HeldBank(None, "x").receive(broadcast.packet(bank)), bank)
        before, numbers = bank, [*numbers[10:], 300 + 10 * at, *range(301 + 10 * at, 310 + 10 * at)]


@pytest.mark.parametrize("wire", WIRES)
def test_after_a_restart_a_site_that_holds_the_bank_needs_only_the_header(made, held, wire) -> None:
    old = Broadcast(wire)
    bank = old.publish(made({"plate": list(range(200))}))
    held.receive(old.packet(bank))
    broadcast = Broadcast(wire)
    broadcast.adopt(bank)
    assert not broadcast.packet(bank, holds=held.digest).arrays
    assert same(HeldBank(None, "x").receive(broadcast.packet(bank)), bank)  # the same bits
    later = broadcast.publish(made({"plate": list(range(5, 205))}))
    assert same(held.receive(broadcast.packet(later, holds=held.digest)), later)


def test_a_site_without_the_base_asks_for_all_of_it(made, held, tmp_path: Path) -> None:
    broadcast = Broadcast("int8")
    first = broadcast.publish(made({"plate": list(range(200))}))
    held.receive(broadcast.packet(first))
    delta = broadcast.packet(first, holds=held.digest)
    for lost in (
        HeldBank(SiteCache(tmp_path / "empty", 1.0), "south"),
        HeldBank(SiteCache(tmp_path, 1.0), "north"),
        HeldBank(SiteCache(tmp_path, 1.0), "south", keep=False),
        HeldBank(None, "south"),
    ):
        with pytest.raises(NeedsFullBank, match="needs full bank") as found:
            lost.receive(delta)
        assert "\n" not in str(found.value)
    other = Broadcast("int8")
    held.receive(other.packet(other.publish(made({"plate": [5, 6, 7]}))))
    with pytest.raises(NeedsFullBank, match="this site holds"):
        held.receive(delta)


def test_a_damaged_or_evicted_base_is_noticed(made, held, tmp_path: Path) -> None:
    broadcast = Broadcast("float32")
    held.receive(broadcast.packet(broadcast.publish(made({"plate": list(range(200))}))))
    second = broadcast.publish(made({"plate": list(range(10, 210))}))
    delta = broadcast.packet(second, holds=held.digest)
    large = max(tmp_path.rglob("*.safetensors"), key=lambda p: p.stat().st_size)
    spoiled = bytearray(large.read_bytes())
    spoiled[-5] ^= 1
    large.write_bytes(bytes(spoiled))
    with pytest.raises(NeedsFullBank):
        held.receive(delta)
    assert not large.exists()  # the cache threw it away
    assert same(held.receive(broadcast.packet(second)), second)


def test_rows_that_virtual_sites_share_are_put_back_when_they_are_gone(made, tmp_path) -> None:
    sites = [HeldBank(SiteCache(tmp_path, 1.0), name, shared=True) for name in ("a", "b")]
    broadcast = Broadcast("float32")
    bank = broadcast.publish(made({"plate": list(range(200))}))
    for site in sites:
        site.receive(broadcast.packet(bank))
    max(tmp_path.rglob("*.safetensors"), key=lambda p: p.stat().st_size).unlink()
    sites[0].receive(broadcast.packet(bank))  # the whole bank once more, for one of them
    for site in sites:
        assert same(site.receive(broadcast.packet(bank, holds=site.digest)), bank)


def test_a_full_disk_means_nothing_is_held(made, tmp_path: Path) -> None:
    held = HeldBank(SiteCache(tmp_path, 2e-6), "south")  # 2 kB: the bank does not fit
    bank = made({"plate": list(range(200))})
    assert same(held.receive(Broadcast("float32").packet(bank)), bank)
    assert held.digest == ""


def altered(packet: Packet, **changes) -> Packet:
    told = json.loads(packet.texts["wire"])
    for key, value in changes.items():
        if key in told:
            told[key] = value
        else:
            told["sections"][0][key] = value
    return Packet(dict(packet.arrays), texts={**packet.texts, "wire": json.dumps(told)})


def without(packet: Packet, key: str) -> Packet:
    arrays = {k: v for k, v in packet.arrays.items() if k != key}
    return Packet(arrays, texts=dict(packet.texts))


def with_array(packet: Packet, key: str, value: np.ndarray) -> Packet:
    return Packet({**packet.arrays, key: value}, texts=dict(packet.texts))


HOSTILE = {
    "wrong digest": (lambda p: altered(p, digest="0" * 64), "rows it was made with"),
    "no digest": (lambda p: altered(p, digest=None), "cannot be read"),
    "another section": (lambda p: altered(p, name="ring"), "sections are not those"),
    "a section less": (lambda p: altered(p, sections=[]), "sections are not those"),
    "too many rows": (lambda p: altered(p, rows=10**7), "would take"),
    "impossible rows": (lambda p: altered(p, rows=10**12), "cannot be read"),
    "fewer rows": (lambda p: altered(p, rows=199), "hold"),
    "same as nothing": (lambda p: altered(p, same=True), "origin.plate|carries"),
    "a piece too few": (lambda p: altered(p, pieces=[]), "names row"),
    "a piece that is no row": (lambda p: altered(p, pieces=[None]), "uint8"),
    "no picks": (lambda p: without(p, "0.picks"), "0.picks"),
    "no rows": (lambda p: without(p, "0.0"), "0.0"),
    "more arrays": (lambda p: with_array(p, "7.0", np.ones(3, np.float32)), "nothing names"),
    "cut": (lambda p: with_array(p, "0.0", p.arrays["0.0"][:-7]), "cut short"),
    "picks cut": (lambda p: with_array(p, "0.picks", p.arrays["0.picks"][:-3]), "cut short"),
    "not a table": (lambda p: Packet(p.arrays, texts={**p.texts, "wire": "["}), "cannot be read"),
    "no header": (lambda p: Packet(p.arrays, texts={**p.texts, "bank": "{}"}), "cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bank_that_cannot_be_rebuilt_is_refused_in_one_line(name: str, made, held) -> None:
    change, words = HOSTILE[name]
    broadcast = Broadcast("int8")
    packet = broadcast.packet(broadcast.publish(made({"plate": list(range(200))})))
    with pytest.raises(BankError, match=words) as found:
        held.receive(change(packet))
    assert "\n" not in str(found.value)
    assert not isinstance(found.value, NeedsFullBank)
    assert held.digest == ""


def test_a_delta_with_the_wrong_digest_asks_for_the_whole_bank(made, held) -> None:
    broadcast = Broadcast("int8")
    held.receive(broadcast.packet(broadcast.publish(made({"plate": list(range(200))}))))
    second = broadcast.publish(made({"plate": list(range(10, 210))}))
    packet = altered(broadcast.packet(second, holds=held.digest), digest="1" * 64)
    with pytest.raises(NeedsFullBank, match="needs full bank"):
        held.receive(packet)


def test_many_sections_that_are_each_possible_are_not_so_together(made, monkeypatch) -> None:
    """34 kB that become gigabytes: 80 sections that each repeat one row within the free bytes."""
    rows = (1 << 26) // (4 * DIMENSION) // 2
    names = [f"p{at:02d}" for at in range(80)]
    broadcast = Broadcast("int8")
    packet = broadcast.packet(
        broadcast.publish(made({name: [at] for at, name in enumerate(names)}))
    )
    told = json.loads(packet.texts["wire"])
    picks, origin = squeeze(np.zeros(rows, "<i4")), squeeze(np.zeros(rows, "<i4"))
    for at, part in enumerate(told["sections"]):
        part["rows"] = rows
        packet.arrays.update({f"{at}.picks": picks, f"{at}.origin": origin})
    packet.texts["wire"] = json.dumps(told)
    made_of = []
    plain = np.empty
    monkeypatch.setattr(held_module.np, "empty", lambda s, *a: made_of.append(s) or plain(s, *a))
    with pytest.raises(BankError, match="the message would take .* at most 67,108,864 are taken"):
        HeldBank(None, "south").receive(packet)
    assert sum(4 * int(np.prod(shape)) for shape in made_of) <= 1 << 26


def test_many_pieces_that_are_each_possible_are_not_so_together(made) -> None:
    """Zeros compress without end: pieces of 60 MB each in some kB."""
    rows = (1 << 26) // (4 * DIMENSION) - 1
    broadcast = Broadcast("float16")
    packet = broadcast.packet(broadcast.publish(made({"plate": [1], "ring": [2]})))
    told = json.loads(packet.texts["wire"])
    piece = squeeze(np.zeros(1, "<i4"), np.zeros((DIMENSION, rows), "<f2"))
    for at, part in enumerate(told["sections"]):
        part["pieces"] = [{"kind": "float16", "rows": rows, "columns": DIMENSION, "error": 0.0}]
        packet.arrays[f"{at}.0"] = piece
    packet.texts["wire"] = json.dumps(told)
    with pytest.raises(BankError, match="section 'ring': the message would take"):
        HeldBank(None, "south").receive(packet)


def test_a_section_that_is_named_twice_is_refused(made, held) -> None:
    broadcast = Broadcast("int8")
    packet = broadcast.packet(broadcast.publish(made({"plate": [1], "ring": [2]})))
    texts = {name: packet.texts[name].replace('"ring"', '"plate"') for name in ("bank", "wire")}
    with pytest.raises(BankError, match="names a section twice"):
        held.receive(Packet(packet.arrays, texts=texts))


@pytest.mark.parametrize("wire", WIRES)
def test_a_flood_of_one_row_is_sent_so_that_sites_take_it(made, held, wire, monkeypatch) -> None:
    """A row that one site repeats without end must not cost the others the bank."""
    monkeypatch.setattr(allowance, "FREE_BYTES", 10_000)
    broadcast = Broadcast(wire)
    held.receive(broadcast.packet(broadcast.publish(made({"plate": [1, 2, 3, 4]}))))
    flood = broadcast.publish(made({"plate": [1, 2] * 2000}, round=2))
    assert same(held.receive(broadcast.packet(flood, holds=held.digest)), flood)


def test_the_digest_sees_rows_origins_and_names_and_no_thresholds(made) -> None:
    bank = made({"plate": [1, 2, 3]})
    part = bank.sections["plate"]
    known = digest(bank.sections)
    assert known == digest(bank.with_thresholds({"plate": {"north": 1.0}}).sections)
    moved = part.features.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], np.float32(9))
    for other in (
        {"ring": part},
        {"plate": replace(part, features=moved)},
        {"plate": replace(part, features=part.features[::-1].copy())},
        {"plate": replace(part, origin=part.origin[::-1].copy())},
    ):
        assert digest(other) != known
