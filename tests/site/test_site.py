"""A site over several rounds: caches, hold-out, deltas, growing folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.section import SHARED
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.content import content_hash
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.errors import CoresetError, DataError, FingerprintError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.inprocess import federate
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.pooled import pooled_baseline
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from tests.support.products import picture, write_product


@pytest.fixture
def open_(settings: Callable[..., RunConfig], backbone, tmp_path: Path):
    """Open a site on a folder, with a cache that survives between openings."""

    def make(name: str, folder: Path, *, cached: bool = True, **overrides) -> Site:
        cache = SiteCache(tmp_path / "cache" / name, 1.0) if cached else None
        config = settings(**overrides)
        return Site(name, discover(folder), config, backbone, cache=cache)

    return make


def test_held_out_images_never_enter_the_coreset(open_, tmp_path: Path, backbone) -> None:
    write_product(tmp_path / "a" / "plate", train=10)
    site = open_(
        "a", tmp_path / "a", calibration="holdout", holdout=0.3, coreset_size=10_000, cached=False
    )
    reply = site.train()
    images = site.training_images("plate")
    assert (len(images.used), len(images.held_out)) == (7, 3)
    rows = {r.tobytes() for r in reply.contribution.parts["plate"].features}
    seen = {r.tobytes() for p in images.used for r in features_of(backbone, p)}
    held = {r.tobytes() for p in images.held_out for r in features_of(backbone, p)}
    assert rows <= seen
    assert len(rows & held) == 0


def features_of(backbone, path: Path) -> np.ndarray:
    """Extracted in a batch of the site's size, so that the numbers agree to the bit."""
    tool = Extractor(backbone)
    every = sorted(path.parent.iterdir())
    features, kept, _ = tool.all(every)
    features = features.dense()
    one = features[kept.index(every.index(path))]
    return one.reshape(-1, one.shape[-1])


def test_a_retry_extracts_nothing_and_sends_the_same(open_, tmp_path: Path) -> None:
    write_product(tmp_path / "a" / "plate")
    first = open_("a", tmp_path / "a").train()
    again = open_("a", tmp_path / "a").train()
    np.testing.assert_array_equal(
        first.contribution.parts["plate"].features, again.contribution.parts["plate"].features
    )
    assert (first.stats[0].extracted, first.stats[0].cached) == (6, 0)
    assert (again.stats[0].extracted, again.stats[0].cached) == (0, 6)


def test_the_cache_knows_content_not_names(open_, tmp_path: Path) -> None:
    folder = write_product(tmp_path / "a" / "plate") / "train" / "good"
    site = open_("a", tmp_path / "a", holdout=0.0)
    site.train()
    (folder / "000.png").rename(folder / "renamed.png")
    picture(77).save(folder / "001.png")  # another image under an old name
    tally = Tally()
    list(site.extractor.stream(sorted(folder.iterdir()), tally))
    assert (tally.cached, tally.extracted) == (5, 1)


def test_a_damaged_cache_entry_is_computed_again(open_, tmp_path: Path, caplog) -> None:
    write_product(tmp_path / "a" / "plate")
    before = open_("a", tmp_path / "a").train()
    for entry in (tmp_path / "cache").rglob("*.safetensors"):
        entry.write_bytes(entry.read_bytes()[:50])
    after = open_("a", tmp_path / "a").train()
    np.testing.assert_array_equal(
        before.contribution.parts["plate"].features, after.contribution.parts["plate"].features
    )
    assert "will be computed again" in caplog.text


def test_a_full_disk_costs_the_cache_not_the_round(
    open_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def full(path: Path, content: bytes, *, durable: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedpatchcore.features.cache.write_atomically", full)
    write_product(tmp_path / "a" / "plate")
    assert open_("a", tmp_path / "a").train().kind == "full"
    assert caplog.text.count("No space left on device") == 1


def test_the_cache_stays_within_its_limit(tmp_path: Path) -> None:
    cache = SiteCache(tmp_path, 0.001)
    for at in range(50):
        cache.put(f"{at:064d}", {"x": np.zeros(10_000, np.float32)})
    size = sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors"))
    assert size <= 1_000_000
    assert cache.get(f"{49:064d}") is not None  # the newest is there
    assert cache.get(f"{0:064d}") is None
    assert SiteCache(tmp_path / "off", 0.0).get("x") is None


def test_what_is_stored_again_counts_once(tmp_path: Path) -> None:
    def on_disk() -> int:
        return sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors"))

    cache = SiteCache(tmp_path, 0.001)
    cache.put("a" * 64, {"x": np.zeros(50_000, np.float32)})
    for at in range(20):  # 4 MB in all, of 1 MB: nothing has to give way
        cache.put("b" * 64, {"x": np.full(50_000 - at, at, np.float32)})
        assert cache._size == on_disk()
    assert cache.holds("a" * 64)
    assert not cache.holds("c" * 64)
    assert cache.get("b" * 64)[1]["x"][0] == 19
    damaged = next(p for p in tmp_path.rglob("*.safetensors") if p.stem == "a" * 64)
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"abcd")
    assert cache.get("a" * 64) is None
    assert cache._size == on_disk()


# -- rounds ---------------------------------------------------------------------------


def test_nothing_new_is_said_in_no_rows(open_, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 50)):
        write_product(tmp_path / name / "plate", seed=seed)
    sites = [open_(n, tmp_path / n) for n in "ab"]
    federation = federate(sites)
    first = federation.bank
    federate([open_(n, tmp_path / n) for n in "ab"], federation=federation)
    told = federation.history[1]["train"]
    assert [told[n]["kind"] for n in "ab"] == ["none", "none"]
    assert [told[n]["bytes"] for n in "ab"] == [0, 0]
    np.testing.assert_array_equal(
        federation.bank.section("plate").features, first.section("plate").features
    )


def test_a_growing_folder_ships_only_what_the_bank_lacks(open_, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 50)):
        write_product(tmp_path / name / "plate", seed=seed, train=12)
    federation = federate([open_(n, tmp_path / n) for n in "ab"])
    good = tmp_path / "a" / "plate" / "train" / "good"
    for at in range(4):
        picture(300 + at).save(good / f"more-{at}.png")  # more of the same
    odd = np.asarray(picture(999)).transpose(1, 0, 2)  # stripes the other way: really new
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(odd)).save(good / "new.png")
    federate([open_(n, tmp_path / n, holdout=0.0) for n in "ab"], federation=federation)
    first, second = (h["train"]["a"] for h in federation.history)
    assert second["kind"] == "delta"
    assert 0 < second["bytes"] < 0.75 * first["bytes"]
    section = federation.bank.section("plate")
    site = open_("a", tmp_path / "a", holdout=0.0)
    assert section.images["a"] == len(site.training_images("plate").keys)
    from fedpatchcore.detection.search import NearestNeighbours

    tool = site.extractor
    new = tool.all([good / "new.png"])[0].dense().reshape(-1, tool.backbone.dimension)
    before = federation.history[0]["sections"]["plate"]["radius"]
    away = NearestNeighbours(section.features).search(new)[0].max()
    assert away <= section.covers + section.radius + 1e-4
    assert before >= 0


def test_what_the_bank_lost_is_offered_again(open_, tmp_path: Path) -> None:
    """The site remembers what it sent; a bank without it makes the site look again."""
    for name, seed in (("a", 0), ("b", 5000)):
        write_product(tmp_path / name / "plate", seed=seed)
    sites = [open_(n, tmp_path / n, min_sites=1) for n in "ab"]
    sites[0].train()  # this reply never arrives
    only_b = federate([sites[1]], evaluate=False)
    reply = open_("a", tmp_path / "a").train(only_b.bank)
    assert reply.stats[0].images == 6
    assert reply.stats[0].represented == 6


def test_a_product_the_bank_does_not_know_ships_in_full(open_, tmp_path: Path) -> None:
    write_product(tmp_path / "a" / "plate")
    federation = federate([open_("a", tmp_path / "a", min_sites=1)], evaluate=False)
    write_product(tmp_path / "a" / "ring", seed=800)
    reply = open_("a", tmp_path / "a").train(federation.bank)
    assert reply.kind == "delta"
    assert set(reply.contribution.parts) == {"ring"}
    federation.accept(reply)
    assert set(federation.contributions["a"].parts) == {"plate", "ring"}


def test_one_shared_section(open_, tmp_path: Path) -> None:
    write_product(tmp_path / "a" / "plate")
    write_product(tmp_path / "a" / "ring", seed=800)
    site = open_("a", tmp_path / "a", sections="shared", min_sites=1)
    federation = federate([site])
    assert set(federation.bank.sections) == {SHARED}
    found = federation.history[0]["evaluate"]["a"]["products"]
    assert set(found) == {"plate", "ring"}
    assert all(f["calibrated"] == 6 and f["image_auroc"] > 0.5 for f in found.values())


def test_a_site_refuses_a_bank_of_other_features(open_, settings, tmp_path: Path) -> None:
    from fedpatchcore.features.backbone import build_backbone

    write_product(tmp_path / "a" / "plate")
    bank = federate([open_("a", tmp_path / "a", min_sites=1)], evaluate=False).bank
    other = settings(neighbourhood=5)
    site = Site("a", discover(tmp_path / "a"), other, build_backbone(other))
    with pytest.raises(FingerprintError, match="neighbourhood: 5 ≠ 3"):
        site.train(bank)


def test_a_site_without_good_images_says_so(open_, tmp_path: Path) -> None:
    write_product(tmp_path / "a" / "plate", train=0)
    (tmp_path / "a" / "plate" / "train" / "good").mkdir(parents=True)
    with pytest.raises(DataError, match="site 'a' has no training images of good parts"):
        open_("a", tmp_path / "a").train()


def test_random_coreset_is_shipped_as_told(open_, tmp_path: Path) -> None:
    write_product(tmp_path / "a" / "plate")
    site = open_("a", tmp_path / "a", coreset="random", coreset_size=17)
    (stats,) = site.train().stats
    assert stats.rows == 17
    assert stats.radius > 0


def test_a_federation_of_one_is_that_sites_coreset(open_, tmp_path: Path) -> None:
    write_product(tmp_path / "a" / "plate")
    site = open_("a", tmp_path / "a", min_sites=1)
    reply = site.train()
    federation = Federation(site.config)
    federation.accept(reply)
    rows = federation.merge(1).section("plate").features
    sent = reply.contribution.parts["plate"].features
    assert {r.tobytes() for r in rows} == {r.tobytes() for r in sent}


def test_two_sites_with_one_name_and_a_second_reply_are_refused(open_, tmp_path: Path) -> None:
    from fedpatchcore.errors import CoresetError, QuorumError

    write_product(tmp_path / "a" / "plate")
    site = open_("a", tmp_path / "a")
    federation = Federation(site.config)
    federation.accept(site.train())
    with pytest.raises(CoresetError, match="second reply from site 'a'"):
        federation.accept(site.train())
    with pytest.raises(QuorumError, match="2 nodes call themselves 'a'"):
        federate([site, open_("a", tmp_path / "a")])


# -- simulation -----------------------------------------------------------------------


def test_virtual_sites_see_only_their_own_images(settings, tmp_path: Path) -> None:
    write_product(tmp_path / "data" / "plate", train=12)
    config = settings(data=str(tmp_path / "data"), partition="iid", holdout=0.0)
    sites = [open_site(config, NodeConfig(partition_id=i, num_partitions=3)) for i in range(3)]
    own = [{content_hash(p) for p in s.products["plate"].train} for s in sites]
    assert all(not a & b for i, a in enumerate(own) for b in own[:i])
    assert sum(map(len, own)) == 12


def test_pooled_baseline_learns_from_what_the_sites_taught(settings, tmp_path: Path) -> None:
    write_product(tmp_path / "data" / "plate", train=12, good=6, bad=6)
    config = settings(data=str(tmp_path / "data"), partition="iid")
    sites = [open_site(config, NodeConfig(partition_id=i, num_partitions=2)) for i in range(2)]
    found = pooled_baseline(sites)
    assert set(found) == {"site-0", "site-1"}
    assert found["site-0"]["plate"]["image_auroc"] > 0.9
    assert "pixel_auroc" in found["site-0"]["plate"]


def test_a_section_of_another_name_cannot_take_over_the_bank(open_, tmp_path: Path) -> None:
    """``shared`` stands before every product, so no site may send it unasked."""
    write_product(tmp_path / "north" / "plate", seed=1)
    site = open_("north", tmp_path / "north")
    reply = site.train()
    part = reply.contribution.parts["plate"]
    hostile = replace(
        reply,
        contribution=replace(reply.contribution, parts={"shared": part}),
        stats=(replace(reply.stats[0], section="shared"),),
    )
    with pytest.raises(CoresetError, match="section 'shared', which sections='product' has not"):
        Federation(site.config).accept(hostile)


@pytest.mark.parametrize(
    "figures",
    [
        {"represented": float("nan")},
        {"represented": 1.5},
        {"images": -1},
        {"rows": 2**60},
        {"factor": float("nan")},
        {"radius": float("inf")},
    ],
)
def test_figures_that_no_selection_gives_are_refused(open_, tmp_path: Path, figures) -> None:
    write_product(tmp_path / "north" / "plate", seed=1)
    site = open_("north", tmp_path / "north")
    reply = site.train()
    hostile = replace(reply, stats=(replace(reply.stats[0], **figures),))
    with pytest.raises(CoresetError, match=next(iter(figures))):
        Federation(site.config).accept(hostile)


def test_enormous_values_are_refused_by_name(open_, tmp_path: Path) -> None:
    write_product(tmp_path / "north" / "plate", seed=1)
    site = open_("north", tmp_path / "north")
    reply = site.train()
    reply.contribution.parts["plate"].features[0, 0] = 1e20
    with pytest.raises(CoresetError, match="of site 'north' holds values beyond"):
        Federation(site.config).accept(reply)
