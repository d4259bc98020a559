"""A site's own words: each is kept, and each refusal names the site, the word and the mend."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, PrivacyError, WorkerError
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.robustness.settings import AttackSettings
from fedpatchcore.service.request import Request
from fedpatchcore.settings import words_of
from fedpatchcore.wire.messages import SiteFacts, TrainReply
from fedpatchcore.worker import rules as module
from fedpatchcore.worker.rules import Rules
from fedpatchcore.worker.settings import WorkerConfig
from tests.support.fingerprints import FINGERPRINT


def rules(**words: object) -> Rules:
    return Rules(WorkerConfig(site="plant-a", data="/data", **words))


def run(**told: object) -> RunConfig:
    return RunConfig(**{"backbone": "filterbank", "geometry": "crop", **told})


TRAIN, EVALUATE, FACTS = (Request(verb) for verb in ("train", "evaluate", "facts"))


@pytest.mark.parametrize("verb", [TRAIN, EVALUATE, FACTS])
def test_by_default_what_a_run_asks_is_done(verb: Request) -> None:
    for config in (run(), run(dp="cells"), run(coreset_size=10**6)):
        rules().before(verb, config)


def test_no_verdicts() -> None:
    mine = rules(evaluate="none")
    mine.before(TRAIN, run())
    mine.before(FACTS, run())
    with pytest.raises(PrivacyError, match=r"site 'plant-a' gives no verdicts .*evaluate='none'"):
        mine.before(EVALUATE, run())


def test_some_mechanisms_alone() -> None:
    first, second, *_ = MECHANISMS
    mine = rules(mechanisms=f"{first}, ")
    mine.before(TRAIN, run(dp=first))
    mine.before(TRAIN, run())  # dp-required is another word
    words = rf"'plant-a' takes part in {first} alone .*mechanisms.*: run with -c dp={first}"
    with pytest.raises(PrivacyError, match=words):
        mine.before(TRAIN, run(dp=second))


def test_no_rehearsal_of_attacks_unless_it_says_so() -> None:
    attack = next(word for word in words_of(AttackSettings.model_fields["attack"]) if word)
    with pytest.raises(PrivacyError, match=r"'plant-a' takes part in no rehearsal .*rehearsals"):
        rules().before(TRAIN, run(attack=attack, malicious_fraction=0.3))
    rules(rehearsals=True).before(TRAIN, run(attack=attack, malicious_fraction=0.3))


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "net.pth", "~/x", "../x", "IMAGENET1K_V1 ", "a", "IMAGENET1K_V1\n"]
)
def test_no_file_that_a_run_names_is_opened(path: str) -> None:
    config = run().model_copy(update={"weights": path})
    words = r"'plant-a' opens no file that a run names: put .* into its worker.toml \(weights\)"
    with pytest.raises(ConfigError, match=words):
        rules().before(FACTS, config)
    rules(weights="/mine.pth").before(FACTS, config)  # its own is taken in place of the run's


def test_a_name_of_weights_is_no_file() -> None:
    for name in ("", "DEFAULT", "IMAGENET1K_V1"):
        rules().before(FACTS, run(weights=name))


def reply(rows: int) -> TrainReply:
    part = Part(np.zeros((rows, FINGERPRINT.dimension), np.float32), 1, rows, 0.0)
    given = Contribution("plant-a", FINGERPRINT, {"plate": part})
    return TrainReply("plant-a", "full", given, ())


def test_rows_are_bounded_before_and_after_the_work() -> None:
    mine = rules(most_rows=50)
    mine.before(TRAIN, run(coreset_size=50))
    words = r"'plant-a' gives 50 rows .* 51 were asked for .*most-rows.*-c coreset-size=50"
    with pytest.raises(PrivacyError, match=words):
        mine.before(TRAIN, run(coreset_size=51))
    mine.before(TRAIN, run(coreset_size=0, coreset_ratio=0.9))  # how many is known afterwards
    mine.after(reply(50))
    with pytest.raises(PrivacyError, match=words):
        mine.after(reply(51))
    mine.after(TrainReply("plant-a", "none", None, ()))
    mine.after(SiteFacts("plant-a", (), (), (), "cpu", "", ""))
    rules().after(reply(51))


def test_disk_pictures_and_readers_are_given_up_to_the_sites_most() -> None:
    asked = run(cache_gb=50.0, heatmaps=1000, workers=256)
    given = rules(most_cache_gb=2.5, most_heatmaps=5).before(EVALUATE, asked)
    assert (given.cache_gb, given.heatmaps) == (2.5, 5)
    assert 0 < given.workers <= 4 * os.cpu_count()
    changed = {key for key, value in given.table().items() if value != asked.table()[key]}
    assert changed <= {"cache-gb", "heatmaps", "workers"}
    less = run(cache_gb=0.0, heatmaps=0, workers=0)
    assert rules(most_cache_gb=2.5, most_heatmaps=5).before(EVALUATE, less) == less
    assert rules(most_heatmaps=0).before(EVALUATE, run()).heatmaps == 0
    assert rules().before(EVALUATE, run()) == run()  # what a run asks by default is given


def test_a_batch_that_takes_too_much_is_refused_and_what_fits_is_named() -> None:
    """32 times 3 floats a pixel: 19.3 MB a picture of 224 pixels, 1.61 GB of 2048."""
    mine = rules(most_batch_gb=1.0)
    mine.before(TRAIN, run(batch_size=51, image_size=224))
    words = r"'plant-a' gives a forward pass 1 GB .*batch-size=52 of image-size=224 takes 1 .*"
    with pytest.raises(ConfigError, match=words + r"most-batch-gb.*: run with -c batch-size=51$"):
        mine.before(FACTS, run(batch_size=52, image_size=224))
    with pytest.raises(ConfigError, match="run with -c batch-size=1, and a smaller image-size$"):
        mine.before(TRAIN, run(batch_size=8, image_size=2048))
    with pytest.raises(ConfigError, match=r"takes 6\.6e\+03 .*-c batch-size=4$"):
        rules().before(TRAIN, run(batch_size=4096, image_size=2048))  # the most that may be asked
    rules().before(TRAIN, run(batch_size=64, image_size=512))


def test_so_many_requests_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    mine = rules(requests_an_hour=3, evaluate="none")
    for _ in range(2):
        mine.before(FACTS, run())
        now[0] += 60
    with pytest.raises(PrivacyError):
        mine.before(EVALUATE, run())  # a refusal counts as well
    words = r"'plant-a' answers 3 requests an hour .*requests-an-hour.*: ask again in 3480 s"
    with pytest.raises(WorkerError, match=words):
        mine.before(FACTS, run())
    now[0] = 100.0 + module.HOUR + 1
    mine.before(FACTS, run())  # the first is an hour old
    with pytest.raises(WorkerError, match="ask again in 59 s"):
        mine.before(FACTS, run())


def test_every_refusal_is_one_line(settings: Callable[..., RunConfig]) -> None:
    mine = rules(evaluate="none", most_rows=5)
    for request, config in ((EVALUATE, run()), (TRAIN, run(coreset_size=6)), (TRAIN, settings())):
        with pytest.raises((PrivacyError, ConfigError)) as told:
            mine.before(request, config)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("pattern", ["^([^_]+)_", "(a+)+$"])
def test_no_pattern_that_a_run_names_is_run(pattern: str) -> None:
    """One that backtracks on a long name of a file could not be interrupted."""
    words = r"'plant-a' runs no pattern that a run names: put it into its worker.toml \(group-by\)"
    with pytest.raises(ConfigError, match=words):
        rules().before(TRAIN, run(group_by=pattern))
    rules(group_by="^([^_]+)_").before(TRAIN, run(group_by=pattern))  # its own is taken
    for word in ("", "auto", "none", "folder"):
        rules().before(TRAIN, run(group_by=word))
