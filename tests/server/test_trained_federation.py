"""Methods that train, over three sites in one process: what is learnt, kept, refused, resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.student import student_scores, unflattened
from fedpatchcore.errors import ConfigError, CoresetError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.inprocess import federate
from fedpatchcore.learned.generator import WEIGHT, GeneratorObjective, orthogonal
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of

ROUNDS = 3
pytestmark = pytest.mark.usefixtures("one_thread")
TRAINED = ("feddymem", "generator")


@pytest.fixture
def train(settings, backbone: Backbone, sites_folder: Path, tmp_path: Path):
    """A federation of three sites after some rounds; keywords are settings."""

    def make(*, rounds: int = ROUNDS, names: tuple[str, ...] = (), **told) -> Federation:
        config = configured(settings, **told)
        sites = opened(config, backbone, sites_folder, tmp_path, names)
        return federate(sites, rounds=rounds, federation=Federation(config, rules=rule_of))

    return make


def configured(settings: Callable[..., RunConfig], **told) -> RunConfig:
    base = {"method": "feddymem", "num_rounds": ROUNDS, "min_sites": 2, "local_batch": 4}
    return settings(**{**base, "learning_rate": 0.05, "compare_local": False, **told})


def opened(
    config: RunConfig, backbone: Backbone, root: Path, tmp: Path, names: tuple[str, ...] = ()
) -> list[Site]:
    return [
        Site(one.name, discover(one), config, backbone, cache=SiteCache(tmp / one.name, 1.0))
        for one in sorted(root.iterdir())
        if not names or one.name in names
    ]


@pytest.mark.parametrize("method", TRAINED)
def test_a_bank_comes_of_it_that_judges(train, method: str) -> None:
    found = train(method=method)
    bank = found.bank
    assert set(bank.sections) == {"plate", "ring"}
    for part in bank.sections.values():
        assert part.metric.shape == (128, 64)
        norm = float(np.linalg.norm(part.metric))
        assert norm == pytest.approx(8, rel=1e-5)  # that of 64 orthonormal columns
    start = orthogonal(128, 64, 0)
    assert np.abs(bank.sections["plate"].metric - start).max() > 1e-4, "nothing was learnt"
    assert bank.thresholds["plate"], "no site judged by it"
    last = found.history[-1]
    assert last["sections"]["plate"]["updates"] == 3
    assert last["sections"]["ring"]["updates"] == 1  # made at one site alone


def test_the_loss_falls_from_round_to_round_where_the_memory_stays(train) -> None:
    found = train(method="generator", rounds=6, num_rounds=6, learning_rate=0.2)
    losses = [one["sections"]["plate"]["train_loss"] for one in found.history]
    assert losses[5] < 0.9 * losses[1], losses  # in round 1 sites knew their own rows alone


LAYERS = "features.4,features.7"  # 128 and 256 channels


@pytest.fixture(scope="module")
def deep(settings) -> Backbone:
    """Two layers, as a student needs them."""
    return build_backbone(settings(layers=LAYERS))


def taught(settings, deep: Backbone, root: Path, tmp: Path, *, rounds: int = 2, **told):
    config = configured(settings, method="student", layers=LAYERS, **told)
    sites = opened(config, deep, root, tmp)
    return sites, federate(sites, rounds=rounds, federation=Federation(config, rules=rule_of))


def test_a_student_comes_of_it_that_judges(settings, deep, sites_folder, tmp_path: Path) -> None:
    sites, found = taught(settings, deep, sites_folder, tmp_path, rounds=4, learning_rate=0.3)
    part = found.bank.sections["plate"]
    assert len(part) == 1
    student = unflattened(part.student, 384)
    assert student["student.0.weight"].shape == (128, 128, 3, 3)
    losses = [one["sections"]["plate"]["train_loss"] for one in found.history]
    assert losses[-1] < 0.9 * losses[0], losses
    features = sites[0].extractor.all(sites[0].training_images("plate").used)[0].dense()
    scores = Scorer.of(found.bank, "plate")(features)
    assert np.array_equal(scores.patches, student_scores(student, features))
    assert np.array_equal(scores.images, scores.patches.max((1, 2)).astype(np.float64))
    assert found.bank.thresholds["plate"]
    found.bank.save(tmp_path / "bank.safetensors")
    again = MemoryBank.load(tmp_path / "bank.safetensors").sections["plate"]
    assert np.array_equal(again.student, part.student)
    patches = np.concatenate(
        [
            s.extractor.all(s.training_images("plate").used)[0].dense().reshape(-1, 384)
            for s in sites
        ]
    )
    assert np.allclose(part.features[0], patches.mean(0), atol=1e-5)


def test_a_student_of_one_layer_is_refused(settings, backbone, sites_folder, tmp_path) -> None:
    config = configured(settings, method="student")
    with pytest.raises(ConfigError, match="needs two"):
        opened(config, backbone, sites_folder, tmp_path)[0].train()


def test_a_student_that_would_read_half_a_layer_is_refused(
    settings, deep, sites_folder, tmp_path
) -> None:
    config = configured(settings, method="student", layers=LAYERS, student_reads=100)
    with pytest.raises(ConfigError, match="student-reads=128"):
        opened(config, deep, sites_folder, tmp_path)[0].train()


@pytest.mark.parametrize("method", TRAINED)
def test_equal_settings_and_images_give_the_same_bank(train, method: str, tmp_path: Path) -> None:
    one, other = train(method=method), train(method=method)
    for name, part in one.bank.sections.items():
        assert part.digest == other.bank.sections[name].digest
    assert one.bank.thresholds == other.bank.thresholds


def test_averages_stand_for_all_patches_of_all_sites(train, backbone: Backbone) -> None:
    found = train()
    given = found.contributions
    assert set(given) == {"east", "north", "west"} or len(given) == 3
    for one in given.values():
        for part in one.parts.values():
            weights = part.read_beside()["weights"]
            assert weights.sum() == pytest.approx(part.patches, rel=1e-5)
            assert set(part.beside) == {"weights"}, "an update was kept with the rows"
    assert (found.bank.sections["plate"].origin == -1).all()


@pytest.mark.parametrize(
    "optimiser", ["fedavg", "fedprox", "scaffold", "fednova", "fedadam", "fedmedian"]
)
def test_every_optimiser_moves_the_generator(train, optimiser: str) -> None:
    told = {"mu": 0.01} if optimiser == "fedprox" else {}
    found = train(method="generator", optimiser=optimiser, min_sites=3, **told)
    facts = found.history[-1]["sections"]["plate"]
    assert facts["optimiser"] == optimiser
    assert facts["moved"] > 0


def test_with_own_generators_none_leaves_its_site(train, backbone: Backbone) -> None:
    found = train(generators="own")
    assert all(part.metric is None for part in found.bank.sections.values())
    for one in found.contributions.values():
        assert all(set(part.beside) == {"weights"} for part in one.parts.values())
    assert found.bank.thresholds["plate"]


def test_scaffolds_variates_travel_and_come_back(train, tmp_path: Path) -> None:
    found = train(method="generator", optimiser="scaffold")
    sent = found.method.beside()
    names = {name for name in sent if name.startswith("control/plate/")}
    assert names == {f"control/plate/{WEIGHT}"}
    assert np.abs(sent[f"control/plate/{WEIGHT}"]).max() > 0
    assert {name for name in sent if name.startswith("accepted/")} == {
        f"accepted/{site}" for site in found.contributions
    }
    assert all(float(sent[f"accepted/{s}"][0]) == ROUNDS for s in found.contributions)


@pytest.mark.parametrize("wire", ["float16", "int8", "topk"])
def test_compressed_updates_are_smaller_and_move_the_same_way(train, wire: str) -> None:
    whole, small = train(method="generator"), train(method="generator", update_wire=wire)
    a, b = (f.bank.sections["plate"].metric.ravel() for f in (whole, small))
    start = orthogonal(128, 64, 0).ravel()
    one, other = a - start, b - start
    agree = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    assert agree > (0.3 if wire == "topk" else 0.99)


@pytest.mark.parametrize(
    ("method", "optimiser"),
    [
        ("feddymem", "scaffold"),
        ("generator", "fedavgm"),
        pytest.param("feddymem", "fedavgm", marks=pytest.mark.long),
        pytest.param("feddymem", "fedadam", marks=pytest.mark.long),
        ("generator", "scaffold"),
        ("generator", "fedadam"),
    ],
)
def test_a_resumed_run_ends_as_the_whole_one(
    settings, backbone, sites_folder, tmp_path: Path, method: str, optimiser: str
) -> None:
    config = configured(settings, method=method, optimiser=optimiser)
    whole = federate(
        opened(config, backbone, sites_folder, tmp_path / "a"),
        rounds=3,
        federation=Federation(config, rules=rule_of),
    )
    sites = opened(config, backbone, sites_folder, tmp_path / "b")
    run = RunFolder.create(tmp_path, "run", config.table())
    first = Federation(config, rules=rule_of, contributions=run.contributions())
    federate(sites, rounds=2, federation=first)
    run.checkpoint(2, first)
    later = Federation(config, rules=rule_of, contributions=run.contributions())
    assert run.restore(later) == 2
    federate(sites, rounds=1, federation=later)
    for name, part in whole.bank.sections.items():
        assert np.array_equal(part.metric, later.bank.sections[name].metric)
        assert np.array_equal(part.features, later.bank.sections[name].features)


@pytest.mark.parametrize("method", TRAINED)
def test_a_site_that_is_away_keeps_its_rows_and_moves_nothing(
    settings, backbone, sites_folder, tmp_path: Path, method: str
) -> None:
    config = configured(settings, method=method)
    sites = opened(config, backbone, sites_folder, tmp_path)
    found = federate(sites, rounds=1, federation=Federation(config, rules=rule_of))
    federate(sites[:2], rounds=1, federation=found)
    assert found.history[-1]["sections"]["plate"]["updates"] == 2
    assert len(found.bank.sites) == 3


def spoiled(arrays: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    values = arrays["update.values"].copy()
    facts = arrays["update.facts"].copy()
    if how == "nan":
        values[3] = np.nan
    elif how == "shape":
        values = values[:-5]
    elif how == "stale":
        facts[0] -= 1
    elif how == "steps":
        facts[2] += 1
    elif how == "examples":
        facts[1] = 10**7
    elif how == "layout":
        return arrays | {"update.layout": arrays["update.layout"][::-1].copy()}
    elif how == "none":
        return {"weights": arrays["weights"]} if "weights" in arrays else {"x": facts}
    return arrays | {"update.values": values, "update.facts": facts}


@pytest.mark.parametrize("how", ["nan", "shape", "stale", "steps", "examples", "layout", "none"])
@pytest.mark.parametrize("method", TRAINED)
def test_a_bad_update_is_refused_by_its_sites_name_and_the_round_goes_on(
    settings, backbone, sites_folder, tmp_path: Path, method: str, how: str
) -> None:
    config = configured(settings, method=method)
    sites = opened(config, backbone, sites_folder, tmp_path)
    found = federate(sites, rounds=1, evaluate=False, federation=Federation(config, rules=rule_of))
    sites = opened(config, backbone, sites_folder, tmp_path)
    for at, site in enumerate(sites):
        reply = site.train(found.bank, beside=found.method.beside())
        if at == 1:
            parts = {
                name: replace(part, beside=spoiled(dict(part.beside), how))
                for name, part in reply.contribution.parts.items()
            }
            reply = replace(reply, contribution=replace(reply.contribution, parts=parts))
            with pytest.raises(CoresetError, match=f"site '{site.name}'"):
                found.accept(reply)
        else:
            found.accept(reply)
    bank = found.merge(2)
    assert np.isfinite(bank.sections["plate"].metric).all()
    assert found.story.record["sections"]["plate"]["updates"] == 2


def test_weights_that_do_not_add_up_are_refused(
    settings, backbone, sites_folder, tmp_path: Path
) -> None:
    config = configured(settings)
    site = opened(config, backbone, sites_folder, tmp_path)[0]
    reply = site.train()
    for wrong in (
        lambda w: w * 2,
        lambda w: -w,
        lambda w: w[:-1],
        lambda w: w * np.float32(np.nan),
    ):
        parts = {
            name: replace(part, beside={**part.beside, "weights": wrong(part.beside["weights"])})
            for name, part in reply.contribution.parts.items()
        }
        bad = replace(reply, contribution=replace(reply.contribution, parts=parts))
        with pytest.raises(CoresetError, match=f"site '{site.name}'"):
            Federation(config, rules=rule_of).accept(bad)


def test_patchcore_takes_nothing_beside_rows(settings, backbone, sites_folder, tmp_path) -> None:
    trained = configured(settings, method="generator")
    site = opened(trained, backbone, sites_folder, tmp_path)[0]
    plain = configured(settings, method="patchcore")
    with pytest.raises(CoresetError, match="arrays beside its rows that nobody asked for"):
        Federation(plain).accept(site.train())


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"memory_budget": 1.0}, "memory-budget"),
        ({"optimiser": "scaffold", "momentum": 0.9}, "momentum"),
    ],
)
def test_what_training_cannot_go_with_is_refused_by_name(settings, told: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        configured(settings, **told)


def test_without_rules_a_federation_says_where_they_are(settings, backbone, sites_folder, tmp_path):
    config = configured(settings)
    sites = opened(config, backbone, sites_folder, tmp_path)
    with pytest.raises(ConfigError, match=r"rules=server_app\.optimisers\.rule_of"):
        Federation(config).accept(sites[0].train())


def test_the_bank_file_holds_all_that_a_judge_needs(train, tmp_path: Path) -> None:
    bank = train(method="generator").bank
    bank.save(tmp_path / "bank.safetensors")
    again = MemoryBank.load(tmp_path / "bank.safetensors")
    part = again.sections["plate"]
    assert np.array_equal(part.metric, bank.sections["plate"].metric)
    assert np.allclose(part.metric, GeneratorObjective.metric({WEIGHT: part.metric}), rtol=1e-6)


def test_a_fraction_of_the_sites_trains_and_all_judge(train) -> None:
    found = train(method="generator", client_fraction=0.5, num_rounds=6, rounds=6)
    who = [frozenset(one["train"]) for one in found.history]
    assert all(len(one) == 2 for one in who)
    assert len(set(who)) > 1, "always the same are drawn"
    again = train(method="generator", client_fraction=0.5, num_rounds=6, rounds=6)
    assert [frozenset(one["train"]) for one in again.history] == who
    last = found.history[-1]
    assert len(last["evaluate"]) == 3


@pytest.mark.parametrize("method", TRAINED)
def test_training_ends_when_images_held_out_gain_nothing(train, method: str) -> None:
    """A learning rate that is far too high: the held-out loss rises from the first round on."""
    found = train(method=method, early_stop=1, num_rounds=9, rounds=9, learning_rate=1e-9)
    assert 2 <= len(found.history) < 9
    assert "early-stop=1" in found.method.enough
    losses = [one["sections"]["plate"]["held_out_loss"] for one in found.history]
    assert all(np.isfinite(losses))


@pytest.mark.parametrize("method", TRAINED)
def test_without_a_cache_the_network_sees_each_image_once_a_round(
    settings, backbone, sites_folder: Path, tmp_path: Path, monkeypatch, method: str
) -> None:
    """Rows, training and averages are made of the same features, as with a cache.

    The look at two pictures that says beforehand what the work will take is left out.
    """
    monkeypatch.setattr("fedpatchcore.site.site.tell_cost", lambda *_: 0.0)
    config, folder = configured(settings, method=method), sites_folder / "north"
    seen: list[int] = []
    submit = backbone.submit
    monkeypatch.setattr(backbone, "submit", lambda x: (seen.append(len(x)), submit(x))[1])
    found = {}
    for kind, cache in (("none", None), ("disk", SiteCache(tmp_path / "cache", 1.0))):
        site = Site("north", discover(folder), config, backbone, cache=cache)
        seen.clear()
        found[kind] = site.train()
        images = len(site.training_images("plate").used)
        assert sum(seen) == images == found[kind].stats[0].extracted
    one, other = (found[kind].contribution.parts["plate"] for kind in ("none", "disk"))
    assert np.array_equal(one.features, other.features)
    assert np.array_equal(one.beside["update.values"], other.beside["update.values"])
