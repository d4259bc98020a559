"""A site's memory budget: the same coreset while all fits, blocks and an honest factor beyond."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.coreset.memory import exact_memory, least_memory
from fedpatchcore.errors import ConfigError
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from fedpatchcore.timing.peaks import peak
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.train import unpack_train
from tests.support.products import write_product

ROWS = {"coreset_size": 12, "holdout": 0.0, "compare_local": False, "global_bank_size": 24}


@pytest.fixture
def open_(settings, backbone, tmp_path: Path):
    from fedpatchcore.data.layouts.discovery import discover

    def make(**overrides) -> tuple[Site, list[str]]:
        lines: list[str] = []
        config: RunConfig = settings(**{**ROWS, **overrides})
        products = discover(tmp_path / "site", "mvtec", ())
        return Site("north", products, config, backbone, say=lines.append), lines

    write_product(tmp_path / "site" / "plate", seed=1)
    return make


def gigabytes(rows: int, dimension: int) -> float:
    return rows * dimension * 4 / 1e9


def test_a_roomy_budget_changes_nothing(open_) -> None:
    (site, _), (bounded, lines) = open_(), open_(memory_budget=1.0)
    plain, same = site.train(), bounded.train()
    one, other = (r.contribution.parts["plate"] for r in (plain, same))
    assert np.array_equal(one.features, other.features)
    assert (one.radius, one.images, one.patches) == pytest.approx(
        (other.radius, other.images, other.patches), rel=1e-5
    )
    assert plain.stats[0].factor == same.stats[0].factor == 2.0
    assert not any("memory-budget" in line for line in lines)


def test_beyond_it_the_radius_promised_is_kept_and_the_factor_told(open_) -> None:
    site, _ = open_()
    images = site.training_images("plate").used
    patches = site.extractor.all(images)[0].rows
    dimension = patches.shape[1]
    budget = least_memory(12, dimension) / 1e9 + gigabytes(20, dimension)
    assert exact_memory(len(patches), 12, dimension) > budget * 1e9
    bounded, lines = open_(memory_budget=budget)
    reply = bounded.train()
    part, stats = reply.contribution.parts["plate"], reply.stats[0]
    away = np.linalg.norm(patches[:, None].astype(float) - part.features, axis=2).min(1)
    assert part.features.shape == (12, patches.shape[1])
    assert away.max() <= part.radius * (1 + 1e-5)
    assert stats.factor > 2.0 and stats.patches == len(patches)
    assert any("memory-budget" in line and f"{stats.factor:.3g}" in line for line in lines)
    assert np.array_equal(bounded.train().contribution.parts["plate"].features, part.features)
    over_the_wire = unpack_train(pack(reply))
    assert over_the_wire.stats == reply.stats and over_the_wire.memory == reply.memory


def test_the_local_bank_shrinks_to_the_budget_and_says_so(open_) -> None:
    dimension = open_()[0].backbone.fingerprint.dimension
    budget = least_memory(20, dimension) / 1e9
    site, lines = open_(memory_budget=budget, compare_local=True, global_bank_size=200)
    assert len(site.train().contribution.parts["plate"].features) == 12
    assert len(site.own_rows("plate")) == 20
    assert any("20 of 200 rows" in line for line in lines)


@pytest.mark.parametrize(
    ("budget", "overrides", "words"),
    [
        (1e-6, {}, "memory-budget: .* raise memory-budget"),
        (1.0, {"coreset": "random"}, "coreset='random' needs all patches"),
        (1.0, {"density_filter": 0.1}, "density-filter needs all patches"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(open_, budget, overrides, words: str) -> None:
    site, _ = open_(memory_budget=budget, **overrides)
    with pytest.raises(ConfigError, match=words):
        site.train()


@pytest.mark.parametrize("tight", [False, True])
def test_later_rounds_keep_the_budget_too(open_, tmp_path: Path, tight: bool) -> None:
    site, _ = open_()
    reply = site.train()
    federation = Federation(settings_of(site), say=lambda line: None)
    federation.accept(reply)
    bank = federation.merge(1)
    bank = type(bank)(**{**vars(bank), "sections": {"plate": shrunk(bank.sections["plate"])}})
    write_product(tmp_path / "site" / "plate", seed=500)  # other images take the places
    dimension = bank.fingerprint.dimension
    budget = least_memory(12, dimension) / 1e9 + gigabytes(4, dimension) if tight else 1.0
    bounded, _ = open_(memory_budget=budget)
    free, _ = open_()
    for one in (bounded, free):
        one.represented.known["plate"] = set()
    found, plain = bounded.train(bank), free.train(bank)
    if not tight:
        assert np.array_equal(
            found.contribution.parts["plate"].features, plain.contribution.parts["plate"].features
        )
        return
    part = found.contribution.parts["plate"]
    images = bounded.training_images("plate").used
    patches = bounded.extractor.all(images)[0].dense().reshape(-1, dimension)
    rows = np.concatenate([bank.sections["plate"].features, part.features])
    away = np.linalg.norm(patches[:, None].astype(float) - rows, axis=2).min(1)
    assert away.max() <= part.radius * (1 + 1e-5)


def settings_of(site: Site) -> RunConfig:
    return site.config.model_copy(update={"min_sites": 1})


def shrunk(section):
    """A section that covers next to nothing, so that nearly all of new images is uncovered."""
    return type(section)(
        section.features[:1], section.origin[:1], 0.0, 1e-4, section.images, section.flagged
    )


def test_a_site_has_the_last_word_on_its_memory(settings, tmp_path: Path) -> None:
    write_product(tmp_path / "here" / "plate", seed=3)
    config = settings(memory_budget=4.0, layout="mvtec")
    node = NodeConfig(site="here", data=str(tmp_path / "here"), memory_budget=0.5)
    assert open_site(config, node).config.memory_budget == 0.5
    assert (
        open_site(config, node.model_copy(update={"memory_budget": 0.0})).config.memory_budget == 4
    )


def test_peaks_are_told_apart_and_nested_ones_count(open_) -> None:
    with peak() as outer:
        with peak() as large:
            held = np.ones(40_000_000)
            del held
        with peak() as small:
            pass
    assert large.rss - small.rss > 200e6
    assert outer.rss >= large.rss
    site, _ = open_()
    extract, select, *cuda = site.train().memory
    assert min(extract, select) > 50e6 and cuda == [0, 0]
