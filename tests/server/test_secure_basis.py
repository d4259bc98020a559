"""A server that gives sites different things to make their numbers from gets no sum of them.

With one model for a site and another for all others, a total is that one site's; with a scale that
the ledger is not told of, the noise hides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.inprocess import federate
from fedpatchcore.learned.masked import step_of
from fedpatchcore.privacy.sums import STEPS_A_SIGMA
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.secure_figures import secure_sums
from fedpatchcore.server.secure_sum import SecureSum
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.keeping import Kept
from fedpatchcore.site.secure import secure_reply
from fedpatchcore.site.secure_figures import keep_figures
from fedpatchcore.site.secure_updates import keep_updates
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from fedpatchcore.wire.basis import basis_of, is_of, over
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.sums import unpack_question
from server_app.optimisers import rule_of
from tests.support.names import NAMES
from tests.support.private import charges
from tests.support.secure import with_rosters

pytestmark = pytest.mark.usefixtures("one_thread")
RUN, ROUND = "run", 1
STUDENT = {
    "method": "student",
    "layers": "features.4,features.7",
    "student_width": 8,
    "dp": "off",
    "secure_sums": True,
    "local_epochs": 1,
    "local_batch": 5,
    "learning_rate": 0.05,
    "min_sites": 3,
}
CLIENT = {
    **STUDENT,
    "dp": "client",
    "dp_clip": 0.05,
    "dp_epsilon": 1.0,
    "dp_budget_epsilon": 1000.0,
    "dp_alone_epsilon": 10_000.0,
}


@pytest.fixture
def members(nodes, tmp_path: Path):
    return with_rosters(nodes, tmp_path / "pki")


@pytest.fixture
def opened(table, members):
    """The three sites of a run, all but north with further settings."""

    def start(words: dict, others: dict | None = None) -> tuple[RunConfig, list[Site]]:
        told = {name: words if name == "north" else words | (others or {}) for name in NAMES}
        configs = {name: RunConfig.parse(table(**one), where="test") for name, one in told.items()}
        made = [
            open_site(configs[str(node["site"])], NodeConfig.from_node(node, {}))
            for node in members.values()
        ]
        return configs["north"], made

    return start


def trained(federation: Federation, sites: Sequence[Site]) -> None:
    for site in sites:
        reply = site.train(None, run=RUN, number=ROUND)
        basis = basis_of(site.asked, None)
        federation.accept(keep_updates(site, reply, run=RUN, number=ROUND, basis=basis))


def talked(federation: Federation, sites: Sequence[Site], phase: str) -> SecureSum:
    """The phase's sum, as far as it comes; why a site left it stands in ``half.left``."""
    (talk,) = secure_sums(federation, RUN, ROUND, phase, [site.name for site in sites])
    by_name = {site.name: site for site in sites}
    while talk.exchange:
        for name in talk.asked:
            try:
                question = unpack_question(talk.question(name))
                talk.take(pack(secure_reply(by_name[name], question, run=RUN, number=ROUND)), name)
            except FedPatchCoreError as error:
                talk.half.left.setdefault(name, str(error))
        talk.close()
    return talk


def kept(site: Site, about: str) -> np.ndarray:
    return Kept(site.policy.sums_folder, RUN, ROUND, about).numbers()[1]["0"]


@pytest.mark.parametrize("checked", [False, True])
def test_sites_that_others_were_told_not_to_learn(opened, monkeypatch, checked: bool) -> None:
    """All but north train at a rate of nothing: the total would be north's update."""
    config, sites = opened(STUDENT, {"learning_rate": 1e-30})
    federation = Federation(config, rules=rule_of)
    trained(federation, sites)
    mine = kept(sites[0], "updates")
    assert np.abs(mine).max() > 0 and not any(kept(s, "updates").any() for s in sites[1:])
    if not checked:  # what there would be to gain
        monkeypatch.setattr("fedpatchcore.site.secure_updates._check", lambda told, layout: None)
        talk = talked(federation, sites, "train")
        assert np.array_equal(talk.half.total.view(np.int64), mine)
        return
    talk = talked(federation, sites, "train")
    assert talk.half.total is None and talk.closed
    for name in NAMES[1:]:
        assert "from another model, or by other settings, than this site" in talk.half.left[name]


def test_an_update_at_the_scale_of_another_noise_is_not_charged_for_this_one(
    opened, tmp_path: Path
) -> None:
    """Trained for ε = 1000, asked for at ε = 1: in steps of the noise it is far too long."""
    _, sites = opened({**CLIENT, "dp_epsilon": 1000.0}, {"dp_epsilon": 1000.0})
    config, asked = opened(CLIENT)
    federation = Federation(config, rules=rule_of)
    trained(federation, sites)
    longest = config.dp_clip / step_of(config, 1)  # that this run's noise is made for, in steps
    assert np.linalg.norm(kept(sites[0], "updates").astype(float)) > 20 * longest
    assert longest < STEPS_A_SIGMA
    talk = talked(federation, asked, "train")
    assert talk.half.total is None and talk.closed
    assert all("or by other settings" in reason for reason in talk.half.left.values())
    assert set(talk.half.left) == set(NAMES)
    assert not any(charges(tmp_path / "ledgers" / name) for name in NAMES)


FIGURES = {"dp": "off", "secure_figures": True, "min_sites": 3}


def judged(federation: Federation, sites: Sequence[Site], banks: Sequence[MemoryBank]) -> None:
    for site, bank in zip(sites, banks, strict=True):
        reply, scored = evaluate_site(site, bank)
        basis = basis_of(site.asked, bank)
        words = {"run": RUN, "number": ROUND, "basis": basis}
        federation.evaluated(keep_figures(site, reply, scored, **words))


@pytest.mark.parametrize("checked", [False, True])
def test_sites_that_judge_by_another_bank(opened, monkeypatch, checked: bool) -> None:
    """A bank far from everything gives all others' images one and the same end of the scale."""
    config, sites = opened(FIGURES)
    federation = federate(sites, evaluate=False, federation=Federation(config))
    bank = federation.bank
    far = {name: replace(one, features=one.features + 1e6) for name, one in bank.sections.items()}
    other = replace(bank, sections=far)
    judged(federation, sites, [bank, other, other])
    if not checked:
        monkeypatch.setattr("fedpatchcore.site.secure_figures._check", lambda told, layout: None)
        assert not talked(federation, sites, "evaluate").closed
        return
    talk = talked(federation, sites, "evaluate")
    assert talk.half.total is None and talk.closed
    for name in NAMES[1:]:
        assert "figures by another bank" in talk.half.left[name]


def test_numbers_made_anew_between_two_exchanges(opened) -> None:
    """A second message to train by other settings, once the first exchange has begun the sum."""
    config, sites = opened(STUDENT)
    federation = Federation(config, rules=rule_of)
    trained(federation, sites)
    (talk,) = secure_sums(federation, RUN, ROUND, "train", NAMES)
    for exchange in ("keys", "shares", "masked"):
        assert talk.exchange == exchange
        if exchange == "masked":
            _, slow = opened({**STUDENT, "learning_rate": 1e-30})
            reply = slow[0].train(None, run=RUN, number=ROUND)
            basis = basis_of(slow[0].asked, None)
            keep_updates(slow[0], reply, run=RUN, number=ROUND, basis=basis)
        for site in sites:
            question = unpack_question(talk.question(site.name))
            if (exchange, site.name) == ("masked", "north"):
                with pytest.raises(FedPatchCoreError, match="or by other settings"):
                    secure_reply(site, question, run=RUN, number=ROUND)
                continue
            talk.take(pack(secure_reply(site, question, run=RUN, number=ROUND)), site.name)
        talk.close()


def test_what_a_basis_tells_apart(table, bank) -> None:
    one = RunConfig.parse(table(), where="test")
    other = RunConfig.parse(table(target_fpr=0.07), where="test")
    moved = replace(bank, round=bank.round + 1)
    name, part = next(iter(bank.sections.items()))
    bent = np.array(part.features)
    bent[0, 0] = np.nextafter(bent[0, 0], np.float32(9))
    near = replace(bank, sections={**bank.sections, name: replace(part, features=bent)})
    beside = {"control/plate/a": np.zeros(3, np.float32)}
    found = [
        basis_of(one, None),
        basis_of(other, None),
        basis_of(one, None, beside),
        *(basis_of(one, given) for given in (bank, moved, near)),
    ]
    assert len(set(found)) == len(found)
    assert basis_of(one, bank) == basis_of(RunConfig.parse(table(), where="test"), bank, {})
    place = over("figures-1", found[0])
    assert len(place) <= 64 and is_of(place, found[0]) and not is_of(place, found[1])
    assert not is_of("figures-1", found[0])
