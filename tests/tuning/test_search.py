"""The search: halving, budget, candidates left out, and going on after a kill. Trials are fakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, DataError, RunError, WeightsError
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.tuning.candidates import AS_TOLD, Candidate, coarse, finer, named_candidates
from fedpatchcore.tuning.plan import Plan
from fedpatchcore.tuning.search import Search, steps
from fedpatchcore.tuning.state import State, question
from fedpatchcore.tuning.trial import Scores, Trial
from fedpatchcore.tuning.written import chosen_settings, write_settings

BASE = RunConfig(backbone="filterbank")


def plan(n: int = 48) -> Plan:
    paths = tuple(Path(f"{at}.png") for at in range(n))
    keys = tuple(f"{at:03d}" for at in range(n))
    return Plan("bolt", paths, keys, keys, ())


class Attempts:
    """Trials whose worth is known: the candidate's size in pixels, a tie where it is equal."""

    def __init__(self, *, lacking: str = "", dies_at: int = 0, seconds: float = 60.0) -> None:
        self.made: list[tuple[str, int]] = []
        self.lacking, self.dies_at, self.seconds = lacking, dies_at, seconds

    def __call__(self, config: RunConfig, plans, **_) -> Trial:
        count = len(plans[0].paths)
        if config.geometry == self.lacking:
            raise WeightsError("no weights here")
        if self.dies_at and len(self.made) + 1 == self.dies_at:
            raise KeyboardInterrupt
        self.made.append((f"{config.geometry} {config.image_size}", count))
        rng = np.random.default_rng(0)
        good = rng.normal(size=count)
        planted = good + rng.normal(config.image_size / 200, 0.5, count)
        own = tuple(range(count))
        scores = Scores(tuple(good), tuple(planted), own, own, own)
        return Trial({"bolt": scores}, count, 0.1, 1000, self.seconds)


def search(attempts: Attempts, state: State | None = None, **how) -> Search:
    told = {"minutes": 1e9, "candidates": coarse(BASE, ["filterbank"]), **how}
    return Search(BASE, [plan()], state=state or State(None, ""), attempt=attempts, **told)


def test_the_better_half_goes_on_to_twice_as_many_pictures() -> None:
    assert steps(48) == [12, 24, 48] and steps(20) == [20] and steps(60) == [15, 30, 60]
    candidates = [Candidate(), *(Candidate({"image-size": s}) for s in (96, 128, 320, 400, 448))]
    attempts = Attempts()
    found = search(attempts, candidates=candidates).run()
    by_count = {
        count: {name.split()[1] for name, n in attempts.made if n == count} for count in (12, 24)
    }
    assert by_count[12] == {"224", "96", "128", "320", "400", "448"}
    assert by_count[24] == {"224", "320", "400", "448"}  # the settings told stay in
    assert "image-size=448" in found.chosen.name and found.chosen.images == 48
    assert {one.name for one in found.earlier} >= {"image-size=96", "image-size=128"}
    assert found.in_time and not found.left_out
    names = {one.name for one in found.ranking}
    assert AS_TOLD in names and "image-size=448 neighbours=3" in names
    assert not any("layers" in name for name in names)  # a person names them
    assert "is kept" not in " ".join(found.words())


def test_what_was_told_is_kept_where_planted_defects_are_hidden() -> None:
    found = search(Attempts()).run()
    best, told = found.ranking[0], next(one for one in found.ranking if one.name == AS_TOLD)
    assert found.chosen == best != told
    for auroc, chosen in ((0.74, told), (0.76, best)):
        faint = replace(found, ranking=[replace(best, auroc=auroc), told])
        assert faint.chosen.name == chosen.name
        assert ("what was told is kept" in faint.words()[-1]) == (chosen is told)
    alone = replace(found, ranking=[replace(best, auroc=0.58)])  # nothing to keep
    assert alone.chosen.name == best.name and f"({best.name}" not in alone.words()[0]


def test_a_budget_ends_it_with_what_is_known() -> None:
    attempts = Attempts(seconds=60)
    found = search(attempts, minutes=0).run()
    first = len(coarse(BASE, ["filterbank"]))
    assert len(attempts.made) == first and not found.in_time  # the first step is made anyway
    assert {one.images for one in found.ranking} == {12}
    attempts = Attempts(seconds=60)
    search(attempts, minutes=first + 2.5).run()
    assert len(attempts.made) == first + 1  # a trial of twice as many pictures takes two minutes


def test_what_cannot_be_tried_is_left_out_and_the_rest_goes_on() -> None:
    found = search(Attempts(lacking="full")).run()
    assert found.left_out and set(found.left_out.values()) == {"no weights here"}
    assert all("geometry=full" not in one.name for one in found.ranking)
    lost = "What was told could not be tried, so no gain over it is known."
    untold = search(Attempts(lacking=BASE.geometry)).run()
    assert lost in untold.words() and lost not in found.words()
    assert {one.gained for one in untold.ranking} == {("–", "–")}
    everything = Attempts()
    everything.lacking = BASE.geometry
    with pytest.raises(DataError, match="no candidate could be tried: no weights here"):
        search(everything, candidates=[Candidate()]).run()


def test_one_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = Attempts()
    expected = search(whole, State.open(tmp_path / "whole.json", "q")).run()
    first, path = Attempts(dies_at=5), tmp_path / "state.json"
    with pytest.raises(KeyboardInterrupt):
        search(first, State.open(path, "q")).run()
    second, state = Attempts(), State.open(path, "q")
    assert len(state.trials) == 4 and state.spent == 4 * 60
    found = search(second, state).run()
    assert first.made + second.made == whole.made
    assert found.ranking == expected.ranking and found.earlier == expected.earlier
    third = Attempts()
    assert search(third, State.open(path, "q")).run().ranking == expected.ranking
    assert third.made == []


def test_a_state_of_other_images_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = State.open(path, question(BASE, [plan()]))
    search(Attempts(), state).run()
    with pytest.raises(ConfigError, match="a tune of other images or settings: name another"):
        State.open(path, question(BASE, [plan(47)]))
    assert question(BASE, [plan()]) == question(BASE.model_copy(update={"threads": 3}), [plan()])
    assert question(BASE, [plan()]) != question(RunConfig(backbone="x", seed=1), [plan()])
    path.write_bytes(path.read_bytes().replace(b"224", b"225"))
    with pytest.raises(RunError, match="damaged"):
        State.open(path, question(BASE, [plan()]))


def test_candidates_are_ordinary_settings() -> None:
    every = coarse(BASE, ["filterbank", "squeezenet1_1"])
    assert every[0] == Candidate() and every[0].name == AS_TOLD
    assert len({one.name for one in every}) == len(every)
    for one in every:
        assert RunConfig.parse(one.settings(BASE).table(), where="x") == one.settings(BASE)
    assert {one.settings(BASE).image_size for one in every} == {224, 448}
    assert {one.settings(BASE).backbone for one in every} == {"filterbank", "squeezenet1_1"}
    told = BASE.model_copy(update={"weights": "w.pth", "layers": "surface"})
    others = [one.settings(told) for one in coarse(told, ["filterbank", "resnet18"])]
    assert {(c.weights, c.layers) for c in others if c.backbone == "resnet18"} == {("", "")}
    best = Candidate({"image-size": 448})
    for one in finer(BASE, best):
        assert one.settings(BASE).image_size == 448 and one.name != best.name


def test_of_square_pictures_the_same_is_not_tried_twice() -> None:
    every = coarse(BASE, ["filterbank"])
    fewer = coarse(BASE, ["filterbank"], square=True)
    assert {one.name for one in every} - {one.name for one in fewer} == {
        "geometry=full",
        "geometry=full image-size=448",
    }
    told = BASE.model_copy(update={"geometry": "full"})
    assert {one.settings(told).geometry for one in coarse(told, ["filterbank"], square=True)} == {
        "full",
        "crop",
    }
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    for size in (224, 448):
        whole, full = (Geometry(kind, size).image(picture) for kind in ("whole", "full"))
        assert np.array_equal(whole, full)


def test_named_candidates(tmp_path: Path) -> None:
    found = named_candidates(
        {"small": {"image-size": 160, "layers": "surface"}, "same": {"image-size": 224}}, BASE
    )
    assert [one.name for one in found] == [AS_TOLD, "image-size=160 layers=surface"]
    with pytest.raises(ConfigError, match="candidate 'x' is no table of settings"):
        named_candidates({"x": 5}, BASE)
    with pytest.raises(ConfigError, match=r"candidate imag-size=9.*imag-size"):
        named_candidates({"x": {"imag-size": 9}}, BASE)


def test_the_chosen_settings_come_back_from_their_file(tmp_path: Path) -> None:
    from fedpatchcore.cli.common import settings

    base = RunConfig(backbone="squeezenet1_1", weights='a "quoted".pth', threads=3, device="cpu")
    config = Candidate({"geometry": "full", "coreset-ratio": 0.04}).settings(base)
    told = chosen_settings(config)
    same = {"geometry"} if RunConfig().geometry == "full" else set()
    assert set(told) == {"backbone", "weights", "geometry", "coreset-ratio"} - same
    write_settings(tmp_path / "t.toml", told, ["a line\nof two"])
    assert settings([str(tmp_path / "t.toml")]) == told
    assert settings([str(tmp_path / "t.toml"), "geometry=crop"])["geometry"] == "crop"
    for text, words in (("a = [1]", "is no setting"), ("x", "is no TOML"), ("[a]\nb=1", "'a'")):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(ConfigError, match=words):
            settings([str(tmp_path / "bad.toml")])
    with pytest.raises(ConfigError, match="cannot read settings"):
        settings([str(tmp_path / "none.toml")])
