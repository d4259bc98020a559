"""Bank and coreset files: what is written is read again, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED, Section
from fedpatchcore.errors import BankError, ConfigError, CoresetError
from fedpatchcore.files import to_bytes, write_atomically
from tests.support.fingerprints import FINGERPRINT


def section(rows: int, seed: int = 0) -> Section:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 6)).astype(np.float32)
    origin = rng.integers(-1, 2, rows).astype(np.int32)
    return Section(features, origin, 0.5, 0.7, {"a": 3, "b": 4}, 1)


@pytest.fixture
def bank() -> MemoryBank:
    return MemoryBank(
        FINGERPRINT,
        {"screw": section(9), "bolt": section(4, 1)},
        ("a", "b"),
        3,
        "federated_coreset",
        {"neighbours": 2, "reweight": 9},
        {"screw": {"a": 1.5, "b": 2.5}, "bolt": {"a": float("nan")}},
    )


def test_round_trip_keeps_everything(bank: MemoryBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "b.safetensors")
    again = MemoryBank.load(tmp_path / "b.safetensors")
    assert again.header() == bank.header()
    for name, part in bank.sections.items():
        np.testing.assert_array_equal(again.sections[name].features, part.features)
        np.testing.assert_array_equal(again.sections[name].origin, part.origin)
    assert again.to_bytes() == bank.to_bytes()
    assert again.header()["privacy"] == {"mechanism": "off"}


def test_header_counts_rows_by_site(bank: MemoryBank) -> None:
    header = {s["name"]: s for s in bank.header()["sections"]}
    counts = header["screw"]["rows_by_site"]
    assert sum(counts.values()) == 9
    assert counts.get("(merged)", 0) == (bank.sections["screw"].origin == -1).sum()


@pytest.mark.parametrize("rows", [np.float32(0), np.zeros(9, np.float32)])
def test_rows_that_are_no_rows_are_refused(bank: MemoryBank, rows: np.ndarray) -> None:
    arrays = {**bank.arrays(), "0.features": np.asarray(rows)}
    with pytest.raises(BankError, match="section 'bolt' does not have 4 rows|does not have 9 rows"):
        MemoryBank.from_header(json.dumps(bank.header()), arrays, where="the bank received")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(bank: MemoryBank, tmp_path: Path, share: float) -> None:
    whole = bank.to_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BankError, match=r"cut\.safetensors is cut short or damaged"):
        MemoryBank.load(path)


def test_every_damaged_header_byte_is_noticed_or_harmless(bank: MemoryBank, tmp_path: Path) -> None:
    """Flip each byte of the header in turn: a BankError, never another exception or a crash."""
    whole = bytearray(bank.to_bytes())
    length = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "flip.safetensors"
    noticed = 0
    for at in range(8, length, 7):
        flipped = bytearray(whole)
        flipped[at] ^= 0x11
        path.write_bytes(flipped)
        try:
            MemoryBank.load(path)
        except BankError:
            noticed += 1
    assert noticed > 0.5 * (length - 8) / 7


def foreign(path: Path, arrays: Mapping, header: Mapping | None) -> Path:
    if header is None:
        save_file(dict(arrays), path)
    else:
        path.write_bytes(to_bytes(arrays, header))
    return path


def test_every_flipped_bit_is_noticed(bank: MemoryBank, tmp_path: Path) -> None:
    content = bank.to_bytes()
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    MemoryBank.load(path)
    for at in range(0, len(content), max(1, len(content) // 400)):
        flipped = bytearray(content)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(BankError, match="damaged|cut short|no bank"):
            MemoryBank.load(path)


def test_foreign_and_inconsistent_files_are_refused(bank: MemoryBank, tmp_path: Path) -> None:
    arrays, header = bank.arrays(), bank.header()
    path = tmp_path / "x.safetensors"
    cases = [
        (arrays, None, "no bank of this system"),
        (arrays, {}, "damaged header"),
        (arrays, {**header, "extra": 1}, "damaged header"),
        (arrays, {**header, "format": 99}, "format 99"),
        ({**arrays, "9.features": arrays["0.features"]}, header, "do not match its header"),
        ({**arrays, "0.features": arrays["0.features"][:2]}, header, "does not have"),
        ({**arrays, "0.features": arrays["0.features"] * np.nan}, header, "NaN"),
        ({**arrays, "0.origin": arrays["0.origin"] + 9}, header, "does not list"),
        ({**arrays, "0.features": arrays["0.features"].astype("f8")}, header, "float64"),
    ]
    for given, head, words in cases:
        with pytest.raises(BankError, match=words):
            MemoryBank.load(foreign(path, given, head))
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(BankError, match="cut short or damaged"):
        MemoryBank.load(tmp_path / "text.safetensors")
    with pytest.raises(BankError, match="does not exist"):
        MemoryBank.load(tmp_path / "nowhere.safetensors")


def test_empty_sections_and_impossible_radii_cannot_be_made() -> None:
    good = section(3)
    for bad, words in (
        (replace(good, features=good.features[:0], origin=good.origin[:0]), "empty"),
        (replace(good, radius=float("inf")), "radius"),
        (replace(good, covers=-1.0), "radius"),
        (replace(good, features=good.features[:, :5]), "expected float32"),
    ):
        with pytest.raises(BankError, match=words):
            MemoryBank(FINGERPRINT, {"x": bad}, ("a", "b"))


def test_thresholds_by_site_and_the_median(bank: MemoryBank) -> None:
    assert bank.threshold("screw", "a") == 1.5
    assert bank.threshold("screw") == 2.0
    assert np.isnan(bank.threshold("bolt"))
    with pytest.raises(BankError, match=r"no threshold of site 'c'.*sites: a, b"):
        bank.threshold("screw", "c")


def test_sections_are_found_by_product_or_shared(bank: MemoryBank) -> None:
    with pytest.raises(BankError, match=r"no section for product 'nut' \(it has bolt, screw\)"):
        bank.section("nut")
    one = MemoryBank(FINGERPRINT, {SHARED: section(5)}, ("a", "b"))
    assert one.section("anything") is one.sections[SHARED]
    assert one.product() == SHARED and one.product("bolt") == bank.product("bolt") == "bolt"
    with pytest.raises(ConfigError, match=r"several products, name one of: bolt, screw"):
        bank.product()


def test_a_failed_write_leaves_the_old_file(
    bank: MemoryBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.safetensors"
    bank.save(path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedpatchcore.files.os.fsync", full)
    with pytest.raises(BankError, match="No space left"):
        bank.with_thresholds({}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["b.safetensors"]


def test_write_atomically_makes_folders(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b", b"x")
    assert (tmp_path / "a" / "b").read_bytes() == b"x"


# -- contributions --------------------------------------------------------------------


def given(rows: int = 5) -> Contribution:
    features = np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)
    return Contribution("a", FINGERPRINT, {"screw": Part(features, 3, 300, 0.4)})


def test_contributions_round_trip(tmp_path: Path) -> None:
    given().save(tmp_path / "c.safetensors")
    again = Contribution.load(tmp_path / "c.safetensors")
    assert (again.site, again.fingerprint) == ("a", FINGERPRINT)
    np.testing.assert_array_equal(again.parts["screw"].features, given().parts["screw"].features)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((tmp_path / "c.safetensors").read_bytes()[:-3])
    with pytest.raises(CoresetError, match="cut short"):
        Contribution.load(cut)
    MemoryBank(FINGERPRINT, {"x": section(3)}, ("a", "b")).save(tmp_path / "bank.safetensors")
    with pytest.raises(CoresetError, match="damaged header"):
        Contribution.load(tmp_path / "bank.safetensors")


def test_extended_adds_rows_and_sections() -> None:
    more = Contribution(
        "a",
        FINGERPRINT,
        {
            "screw": Part(np.ones((2, 6), np.float32), 1, 100, 0.9),
            "bolt": Part(np.ones((1, 6), np.float32), 1, 100, 0.1),
        },
    )
    both = given().extended(more, {"screw", "bolt"})
    assert both.parts["screw"].features.shape == (7, 6)
    assert (both.parts["screw"].images, both.parts["screw"].patches) == (4, 400)
    assert both.parts["screw"].radius == 0.9
    assert set(both.parts) == {"screw", "bolt"}
    assert given().extended(more, {"bolt"}).parts["screw"].features.shape == (2, 6)  # in its place


WORTH = {"folds": 5, "images": 24, "groups": 20, "promised": 0.05, "low": 0.0, "high": 0.14}


def test_what_thresholds_are_worth_comes_back(bank: MemoryBank, tmp_path: Path) -> None:
    (name, *_), (site, *_) = bank.sections, bank.sites
    told = {name: {site: {**WORTH, "new_group": 0.25}}}
    replace(bank, calibration=told, excluded={name: {site: 3}}).save(tmp_path / "b.safetensors")
    found = MemoryBank.load(tmp_path / "b.safetensors")
    assert found.calibration == told and found.excluded == {name: {site: 3}}
    assert found.to_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    "wrong", [{"images": 0}, {"promised": 2.0}, {"folds": -1}, {"spy": 1.0}, {"high": None}]
)
def test_an_impossible_worth_is_refused(bank: MemoryBank, tmp_path: Path, wrong: dict) -> None:
    (name, *_), (site, *_) = bank.sections, bank.sites
    changed = replace(bank, calibration={name: {site: {**WORTH, **wrong}}})
    changed.save(tmp_path / "b.safetensors")
    with pytest.raises(BankError):
        MemoryBank.load(tmp_path / "b.safetensors")
