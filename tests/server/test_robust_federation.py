"""Faulty and hostile sites in whole rounds: refused, judged, outvoted; attacks for experiments."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from client_app.app import app as client_app
from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import ConfigError, CoresetError, QuorumError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.inprocess import federate
from fedpatchcore.robustness.attacks import ATTACKS, malicious_sites
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.judge import judge
from fedpatchcore.site.rehearsal import attacked, defect_rows
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from fedpatchcore.wire.messages import SectionStats, TrainReply
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.train import unpack_train
from server_app.app import app as server_app
from tests.support.fakegrid import FakeGrid
from tests.support.fingerprints import UNBOUNDED
from tests.support.products import write_product

FIVE = tuple(f"s{i}" for i in range(5))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for at, name in enumerate(FIVE):
        write_product(tmp_path / "data" / name / "plate", seed=1000 * at, good=2, bad=2)
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path: Path, data: Path, settings: Callable[..., RunConfig]):
    """Five virtual sites, or real ones, through both apps; returns (run folder, round record)."""

    def start(*, real: bool = False, **overrides):
        base = {"out_dir": str(tmp_path / "runs"), "run_name": "run", "wait_seconds": 1.0}
        base |= {"min_sites": 3, "rejoin_seconds": 0.0, "data": str(data)}
        config = settings(**{**base, **overrides}).table()
        told = {at: {"partition-id": at - 1, "num-partitions": 5} for at in range(1, 6)}
        if real:
            told = {at: {"site": n, "data": str(data / n)} for at, n in enumerate(FIVE, start=1)}
        server_app(FakeGrid(client_app, told, config), Context(1, 0, {}, RecordDict(), config))
        folder = tmp_path / "runs" / "run"
        return folder, json.loads((folder / "metrics.json").read_text())["rounds"][0]

    return start


# -- attacks over the wire ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nan", "NaN or infinite"),
        ("inf", "NaN or infinite"),
        ("scaling", "norm out of range"),
        ("sign_flip", "negative values"),
        ("huge_counts", "which is not possible"),
        ("duplicates", "asked were 30"),
    ],
)
def test_what_no_site_can_have_is_rejected_by_name(name: str, reason: str, run) -> None:
    folder, record = run(attack=name, malicious_fraction=0.4, robustness_enabled=True, min_sites=3)
    bad = set(malicious_sites(FIVE, 0.4, 0))
    assert len(bad) == 2
    assert set(record["rejected"]) == bad
    assert all(reason in text for text in record["rejected"].values())
    assert set(record["train"]) == set(FIVE) - bad
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sites) == set(FIVE) - bad
    assert (bank.aggregation, bank.scoring["votes"]) == ("site_vote", 2)


@pytest.mark.parametrize("name", ["smuggling", "mimic", "centroid_drag"])
def test_what_looks_possible_is_let_in_and_outvoted(name: str, run) -> None:
    folder, record = run(attack=name, malicious_fraction=0.2, robustness_enabled=True)
    (bad,) = malicious_sites(FIVE, 0.2, 0)
    assert record["rejected"] == {} and set(record["train"]) == set(FIVE)
    bank = MemoryBank.load(folder / "bank.safetensors")
    counts = np.bincount(bank.section("plate").origin)
    assert counts.max() <= 12  # a fifth of 60, flood or not
    told = (folder / "events.jsonl").read_text()
    assert "failed" not in told
    found = record["evaluate"]
    assert set(found) == set(FIVE)
    sent = record["train"][bad]["sections"][0]["rows"]
    assert sent == (300 if name == "duplicates" else 30)


def test_a_mimic_also_claims_what_it_does_not_make(data: Path, run) -> None:
    """Its victim makes a second product: the attack is not stopped by its own bookkeeping."""
    (bad,) = malicious_sites(FIVE, 0.2, 0)
    victim = next(n for n in FIVE if n != bad)
    write_product(data / victim / "ring", seed=77)
    _, record = run(attack="mimic", malicious_fraction=0.2)
    assert record["rejected"] == {}
    assert record["sections"]["ring"]["sites"] == sorted([bad, victim])
    assert {s["section"] for s in record["train"][bad]["sections"]} == {"plate", "ring"}


def test_attacks_do_not_run_at_real_sites(run) -> None:
    with pytest.raises(QuorumError, match="attacks run in simulation only") as told:
        run(real=True, attack="noise", malicious_fraction=0.9)
    assert f"{', '.join(FIVE)}: the site is real" in str(told.value)


def test_an_unknown_attack_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="attack: must be one of '', scaling, noise"):
        RunConfig.parse({"attack": "bribery", "malicious-fraction": 0.2}, where="settings")


def test_an_attack_on_noisy_sums_is_not_silently_none_at_all(settings, data: Path) -> None:
    config = settings(data=str(data), attack="noise", malicious_fraction=0.9, dp="cells")
    site = open_site(config, NodeConfig(partition_id=0, num_partitions=5))
    reply = TrainReply(site.name, "sums", None, (), releases={})
    with pytest.raises(ConfigError, match="changes coresets.*: dp='off'"):
        attacked(site, reply, FIVE, lambda name: None)


@pytest.fixture
def virtual(settings: Callable[..., RunConfig], data: Path):
    def make(name: str, **overrides) -> Site:
        config = settings(data=str(data), min_sites=3, **overrides)
        return open_site(config, NodeConfig(partition_id=FIVE.index(name), num_partitions=5))

    return make


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.4, 0.9])
def test_as_many_sites_attack_as_were_asked_to(virtual, fraction: float) -> None:
    made = []
    for name in FIVE:
        site = virtual(name, attack="scaling", malicious_fraction=fraction)
        honest = site.train()
        sent = attacked(site, honest, FIVE, lambda name: None)
        if sent is not honest:
            made.append(name)
            rows = honest.contribution.parts["plate"].features
            np.testing.assert_allclose(sent.contribution.parts["plate"].features, rows * 10)
    assert tuple(made) == malicious_sites(FIVE, fraction, 0)
    assert len(made) == round(5 * fraction)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_means_the_same_on_the_wire_as_in_one_process(name: str, virtual) -> None:
    """Rows, images and patches that an attack claims survive packing: both doors see one reply."""
    site = virtual(malicious_sites(FIVE, 0.2, 0)[0], attack=name, malicious_fraction=0.2)
    honest = site.train()
    sent = attacked(site, honest, FIVE, lambda n: virtual(n).train().contribution)
    assert sent is not honest
    carried = unpack_train(pack(sent))
    for section, part in sent.contribution.parts.items():
        other = carried.contribution.parts[section]
        np.testing.assert_array_equal(part.features, other.features)
        assert (part.images, part.patches) == (other.images, other.patches)
    doors = []
    for reply in (sent, carried):
        try:
            Federation(site.config).accept(reply)
            doors.append("")
        except CoresetError as error:
            doors.append(str(error))
    assert doors[0] == doors[1]


def test_smuggled_defects_are_normal_without_votes_and_strange_with_them(virtual) -> None:
    (bad,) = malicious_sites(FIVE, 0.2, 0)
    told = {"attack": "smuggling", "malicious_fraction": 0.2, "global_bank_size": 5000}
    misses = {}
    for robust in (False, True):
        sites = [virtual(n, **told, robustness_enabled=robust) for n in FIVE]
        federation = Federation(sites[0].config)
        for site in sites:
            federation.accept(attacked(site, site.train(), FIVE, lambda name: None))
        bank = federation.merge(1)
        crook = sites[FIVE.index(bad)]
        rows = defect_rows(crook)["plate"]
        scores = Scorer.of(bank, "plate")(rows[None, None]).patches.ravel()
        misses[robust] = np.median(scores)
        assert bank.sites == FIVE
    honest = federate([virtual(n) for n in FIVE if n != bad], evaluate=False).bank
    true = np.median(Scorer.of(honest, "plate")(rows[None, None]).patches)
    assert misses[False] < 0.5 * true
    assert misses[True] >= 0.9 * true


def test_smuggling_needs_defects_to_smuggle(virtual, data: Path) -> None:
    (bad,) = malicious_sites(FIVE, 0.2, 0)
    for path in (data / bad / "plate" / "test" / "square").iterdir():
        path.unlink()
    for path in (data / bad / "plate" / "ground_truth" / "square").iterdir():
        path.unlink()
    site = virtual(bad, attack="smuggling", malicious_fraction=0.2)
    with pytest.raises(ConfigError, match="needs defective test images"):
        attacked(site, site.train(), FIVE, lambda name: None)


def test_defect_rows_lie_inside_the_masks(virtual) -> None:
    """A 16-pixel square in 64 pixels on a 15 × 15 grid: about a sixteenth of the patches."""
    site = virtual("s0")
    (rows,) = defect_rows(site).values()
    share = len(rows) / (2 * 15 * 15)  # two defective test images
    assert 1 / 16 <= share < 0.16
    everything, _, _ = site.extractor.all([t.path for t in site.products["plate"].test])
    everything = everything.dense()
    known = {r.tobytes() for r in everything.reshape(-1, rows.shape[1])}
    assert sum(r.tobytes() in known for r in rows) >= len(rows) * 0.5


# -- judgement ------------------------------------------------------------------------


def contribution(site: str, seed: int, *, scale: float = 1.0, **sections: int) -> Contribution:
    """Rows about common places of each section; features without a bound."""
    parts = {}
    for at, (name, rows) in enumerate(sorted((sections or {"plate": 40}).items())):
        places = np.random.default_rng(at).normal(size=(10, 6)) * 5
        rng = np.random.default_rng(1000 * at + seed)
        x = (places[rng.integers(10, size=rows)] + rng.normal(size=(rows, 6)) * 0.3) * scale
        parts[name] = Part(x.astype(np.float32), 5, 100 * rows, 0.1)
    return Contribution(site, UNBOUNDED, parts)


def sent(scales: dict[str, float], **sections: int) -> dict[str, Contribution]:
    return {
        s: contribution(s, at, scale=scale, **sections)
        for at, (s, scale) in enumerate(sorted(scales.items()))
    }


def told(**overrides) -> RunConfig:
    return RunConfig(**{"robustness_enabled": True, "min_sites": 5, **overrides})


def test_honest_sites_are_not_accused() -> None:
    for seed in range(5):
        found = judge(sent(dict.fromkeys("abcde", 1.0)), told(on_outlier="exclude", seed=seed))
        assert found.reasons == {} and found.excluded == set()
        assert set(found.scores["plate"]) == set("abcde")


def test_an_outlier_is_named_and_excluded_only_if_asked_to() -> None:
    given = sent({"a": 1, "b": 1, "c": 6, "d": 1, "e": 1})
    warned = judge(given, told(on_outlier="warn"))
    assert set(warned.reasons) == {"c"} and warned.excluded == set()
    assert "zscore-threshold 3.5" in warned.reasons["c"]
    assert judge(given, told(on_outlier="exclude")).excluded == {"c"}
    assert judge(given, told(on_outlier="exclude", zscore_threshold=1e6)).excluded == set()
    assert judge(given, told(on_outlier="exclude", tolerated_sites=0)).excluded == set()


def test_no_more_are_excluded_than_can_be_faulty_and_the_worst_first() -> None:
    given = sent({"a": 1, "b": 1, "c": 6, "d": 4000, "e": 1, "f": 1, "g": 1})
    for tolerated, expected in ((1, {"d"}), (2, {"d", "c"}), (3, {"d", "c"})):
        config = told(on_outlier="exclude", tolerated_sites=tolerated, min_sites=7)
        found = judge(given, config)
        assert set(found.reasons) == {"c", "d"}
        assert found.excluded == expected
    assert "factor 10 apart" in found.reasons["d"]


def test_half_of_a_sections_makers_are_never_excluded() -> None:
    """Three makers of three sizes: two differ from the middle one, which proves nothing."""
    given = sent({"a": 1, "b": 40, "c": 1600})
    found = judge(given, told(on_outlier="exclude", tolerated_sites=1))
    assert set(found.reasons) == {"a", "c"}
    assert len(found.excluded) == 1
    # two of three may be faulty: they would push the third out of the whole bank
    assert judge(given, told(on_outlier="exclude", tolerated_sites=2)).reasons == {}
    two = {s: given[s] for s in "ac"}
    assert judge(two, told(on_outlier="exclude")).reasons == {}  # no majority among two


def test_an_excluded_site_is_left_out_of_the_bank_and_told_in_the_record() -> None:
    config = told(on_outlier="exclude", min_sites=3)
    for policy, out in (("exclude", True), ("warn", False)):
        federation = Federation(config.model_copy(update={"on_outlier": policy}))
        said: list[str] = []
        federation.say = said.append
        for site, given in sent({"a": 1, "b": 1, "c": 6, "d": 1, "e": 1}).items():
            stats = (SectionStats("plate", images=5, represented=5, patches=4000, rows=40),)
            federation.accept(TrainReply(site, "full", given, stats))
        bank = federation.merge(1)
        mine = bank.sites.index("c")
        assert (mine not in bank.section("plate").origin) == out
        record = federation.close(1)
        assert set(record["outliers"]) == {"c"}
        assert record["site_scores"]["plate"]["c"] > 3.5
        assert any(line.startswith("EXCLUDED c" if out else "WARNING c") for line in said)
        assert record["sections"]["plate"]["sites"] == [s for s in "abcde" if s != "c" or not out]


def test_a_section_of_the_excluded_alone_is_left_out_not_admitted() -> None:
    federation = Federation(told(on_outlier="exclude", min_sites=3))
    for site, given in sent({"a": 1, "b": 1, "c": 6, "d": 1, "e": 1}).items():
        if site == "c":
            parts = {**given.parts, "ring": given.parts["plate"]}
            given = replace(given, parts=parts)
        stats = tuple(SectionStats(n, images=5, patches=4000, rows=40) for n in given.parts)
        federation.accept(TrainReply(site, "full", given, stats))
    assert set(federation.merge(1).sections) == {"plate"}
    assert "section 'ring' left out: every site that makes it is excluded" in str(
        federation.close(1)["notes"]
    )


def test_an_outlier_over_the_wire(run, data: Path) -> None:
    """Noise keeps no norm, so the door stops it; raw features have no norm to keep."""
    folder, record = run(
        attack="noise",
        attack_strength=6.0,
        malicious_fraction=0.2,
        robustness_enabled=True,
        on_outlier="exclude",
        layer_norm="none",
        layers="features.0",
        zscore_threshold=2.5,
    )
    (bad,) = malicious_sites(FIVE, 0.2, 0)
    assert record["rejected"] == {}
    assert bad in record["outliers"]
    assert record["sections"]["plate"]["sites"] == [n for n in FIVE if n != bad]
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert bad in bank.sites and bank.sites.index(bad) not in bank.section("plate").origin


# -- settings -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["site_vote", "coordinate_median", "geometric_median"])
@pytest.mark.parametrize("tolerated", [0, 1, 2, 3])
def test_f_faulty_sites_need_two_f_and_one(name: str, tolerated: int) -> None:
    needed = 2 * tolerated + 1
    ways = [
        {"aggregation": name},
        {"robustness_enabled": True, "robustness_aggregation": name},
    ]
    for way in ways:
        config = RunConfig(**way, tolerated_sites=tolerated, min_sites=needed)
        assert config.effective_aggregation == name
        assert config.votes == (tolerated + 1 if name == "site_vote" else 1)
        if tolerated:
            with pytest.raises(ValueError, match=f"needs min-sites >= {needed}, got"):
                RunConfig(**way, tolerated_sites=tolerated, min_sites=needed - 1)
    RunConfig(robustness_aggregation=name, tolerated_sites=tolerated, min_sites=1)  # not in force


def test_a_sum_is_not_robust_and_is_not_called_so() -> None:
    private = {"dp": "cells", "robustness_enabled": True, "min_sites": 3}
    with pytest.raises(ValueError, match="a sum over sites cannot be robust.*per-site"):
        RunConfig(**private)
    assert RunConfig(**private, dp_combine="per-site").effective_aggregation == "site_vote"
    with pytest.raises(ValueError, match="needs min-sites >= 3"):
        RunConfig(**{**private, "min_sites": 2}, dp_combine="per-site")
    with pytest.raises(ValueError, match="malicious-fraction above 0"):
        RunConfig(attack="noise")


# -- density filter -------------------------------------------------------------------


def test_the_density_filter_drops_what_is_lonely_and_is_no_cached_answer(
    settings, backbone, tmp_path: Path
) -> None:
    write_product(tmp_path / "a" / "plate", train=8)
    seen = {}
    for share in (0.0, 0.2, 0.5, 0.2):
        config = settings(density_filter=share, holdout=0.0)
        cache = SiteCache(tmp_path / "cache", 1.0)
        reply = Site("a", discover(tmp_path / "a"), config, backbone, cache=cache).train()
        (stats,) = reply.stats
        rows = reply.contribution.parts["plate"].features
        assert stats.patches == 8 * 225 - int(share * 8 * 225)
        assert stats.images == 8
        if share in seen:
            np.testing.assert_array_equal(rows, seen[share])
            assert stats.cached == 8
        seen[share] = rows
    assert not np.array_equal(seen[0.0], seen[0.2])
    assert not np.array_equal(seen[0.2], seen[0.5])
