"""The server's half of choosing settings: who decides, who is left out, what the end is."""

from __future__ import annotations

import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import CoresetError, QuorumError
from fedpatchcore.server.tuning import TuneRounds
from fedpatchcore.tuning.candidates import AS_TOLD, Candidate
from fedpatchcore.wire.tuning import TriedOut, TuneReply

SITES = ("north", "south", "west")


def worth(changes: dict, site: str) -> float:
    """Small pictures are best in the middle and bad at one site; the filter bank is even."""
    if changes.get("backbone") == "filterbank" or not changes:
        return 0.80 if changes else 0.70
    return {"north": 0.95, "south": 0.90, "west": 0.40}[site]


def played(choice: str, *, refuses=lambda changes, site: False, sites=SITES, **how) -> TuneRounds:
    told = {"backbone": "squeezenet1_1", "min_sites": 2, "tune_images": 48, **how}
    rounds = TuneRounds(RunConfig(tune=choice, **told))
    asked = []
    while rounds.exchange:
        question = rounds.candidates
        asked.append((len(question.candidates), question.images))
        for site in sites:
            lines, left = [], {}
            for at, changes in enumerate(question.candidates):
                if refuses(changes, site):
                    left[at] = "no weights here"
                    continue
                auroc = worth(changes, site) + 0.001 * (changes.get("neighbours") == 3)
                figures = (auroc, auroc - 0.05, min(1.0, auroc + 0.04), 0.1, 10**9)
                lines.append(TriedOut("bolt", at, question.images, 60, *figures))
            rounds.answered(TuneReply(site, tuple(lines), left))
        rounds.close()
    rounds.asked = asked
    return rounds


def test_the_worst_site_or_the_median_one_decides() -> None:
    worst, median = played("worst").found(), played("median").found()
    assert "backbone=filterbank" in worst.chosen.name and "neighbours=3" in worst.chosen.name
    assert worst.chosen.auroc == pytest.approx(0.801)
    assert "backbone=filterbank" not in median.chosen.name
    assert median.chosen.auroc == pytest.approx(0.901)
    assert "of the worst of 3 sites" in worst.words()[0]
    assert worst.chosen.gain == pytest.approx(0.101)
    assert "+0.101 over as told" in worst.words()[0]


def test_steps_halve_and_end_with_finer_settings() -> None:
    rounds = played("median")
    images = [images for _, images in rounds.asked]
    counts = [count for count, _ in rounds.asked]
    assert images == [12, 24, 48, 48] and counts[0] > counts[1] > counts[2] > 1
    told = rounds.told()
    assert list(told) == ["12", "24", "48"] and AS_TOLD in told["48"]
    assert set(told["48"][AS_TOLD]) == set(SITES)


def test_only_what_every_site_could_try_is_compared() -> None:
    refuses = lambda changes, site: "resnet" in changes.get("backbone", "") and site == "west"  # noqa: E731
    found = played("median", refuses=refuses).found()
    assert not any("resnet" in one.name for one in [*found.ranking, *found.earlier])
    assert any("resnet18" in name for name in found.left_out)
    assert all(why == "site 'west': no weights here" for why in found.left_out.values())


def test_too_few_answers_or_no_candidate_stop_it() -> None:
    with pytest.raises(QuorumError, match="1 of 2 sites tried candidates"):
        played("worst", sites=("north",))
    with pytest.raises(QuorumError, match="no candidate could be tried at every site"):
        played("worst", refuses=lambda changes, site: True)


def test_a_site_speaks_once_a_step() -> None:
    rounds = TuneRounds(RunConfig(tune="worst"))
    assert rounds.candidates.candidates[0] == Candidate().changes
    rounds.answered(TuneReply("north", (), {}))
    with pytest.raises(CoresetError, match="a second answer from site 'north'"):
        rounds.answered(TuneReply("north", (), {}))
