"""Updates of models that add up under masks: their mean is known, with its noise, and no update."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import TrainingError
from fedpatchcore.inprocess import federate
from fedpatchcore.learned import masked
from fedpatchcore.learned.carried import check_mark
from fedpatchcore.learned.updates import layout_of
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.shared_noise import alone_multiplier, share_steps, sum_sigma
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.methods.gradients import Models
from fedpatchcore.site.setup import open_site
from server_app.optimisers import rule_of
from tests.support.names import NAMES
from tests.support.private import charges, privacy
from tests.support.secure import with_rosters

pytestmark = pytest.mark.usefixtures("one_thread")
STUDENT = {
    "method": "student",
    "layers": "features.4,features.7",
    "student_width": 8,
    "dp": "off",
    "local_epochs": 1,
    "min_sites": 3,
    "local_batch": 5,
    "learning_rate": 0.05,
    "num_rounds": 2,
}
SECURE = {**STUDENT, "secure_sums": True}
CLIENT = {
    **SECURE,
    "num_rounds": 1,
    "dp": "client",
    "dp_clip": 0.05,
    "dp_epsilon": 8.0,
    "dp_budget_epsilon": 8.0,
    "dp_alone_epsilon": 90.0,
}
MEANS = ("fedavg", "fedavgm", "fedprox", "fedadam", "fedyogi")


@pytest.fixture
def members(nodes, tmp_path: Path):
    return with_rosters(nodes, tmp_path / "pki")


@pytest.fixture
def learn(table, members):
    """Library calls with these settings; the federation."""

    def start(**told) -> Federation:
        more = {"mu": 0.1} if told.get("optimiser") == "fedprox" else {}
        config = RunConfig.parse(table(**{**told, **more}), where="test")
        sites = [open_site(config, NodeConfig.from_node(node, {})) for node in members.values()]
        return federate(
            sites,
            rounds=config.num_rounds,
            evaluate=False,
            federation=Federation(config, rules=rule_of),
        )

    return start


def test_an_update_is_itself_again_within_half_a_step() -> None:
    rng = np.random.default_rng(0)
    like = {"b": np.zeros((3, 2), np.float32), "a": np.zeros(5, np.float32)}
    change = {name: rng.normal(0, 0.1, one.shape).astype(np.float32) for name, one in like.items()}
    config = RunConfig()
    numbers = masked.numbers_of(masked.flat(change), config, 1)
    back = masked.shaped(numbers * masked.step_of(config, 1), like)
    for name, one in change.items():
        assert np.abs(back[name] - one).max() <= 2**-33
    with pytest.raises(Exception, match="set a smaller learning-rate"):
        masked.numbers_of(np.array([2.0**21]), config, 1)


@pytest.mark.parametrize("length", [0.01, 1.0, 1e6, np.inf])
def test_numbers_of_a_private_update_are_never_longer_than_the_clip(length: float) -> None:
    config = RunConfig(method="student", dp="client", dp_clip=0.3, dp_epsilon=1.0)
    rng = np.random.default_rng(1)
    for size in (1, 7, 1000):
        change = rng.normal(0, 1, size)
        change *= length / np.linalg.norm(change)
        numbers = masked.numbers_of(change, config, 1)
        assert np.linalg.norm(numbers * masked.step_of(config, 1)) <= 0.3
        if length < 0.3:  # shorter than the clip: only cut to the lattice
            far = np.abs(numbers * masked.step_of(config, 1) - change).max()
            assert far <= masked.step_of(config, 1)


@pytest.mark.parametrize("optimiser", MEANS)
def test_the_masked_mean_is_the_plain_mean(learn, optimiser: str) -> None:
    """Two rounds: the models are those of plain updates but for the last digits."""
    plain, secure = (learn(**words, optimiser=optimiser) for words in (STUDENT, SECURE))
    one, other = (f.bank.sections["plate"].student for f in (plain, secure))
    moved = np.abs(one - learn(**{**STUDENT, "num_rounds": 1}).bank.sections["plate"].student)
    assert moved.max() > 1e-4  # it learns
    # float32 of the model, and FedAdam and FedYogi divide by as little as 1e-3
    assert np.abs(one - other).max() < 1e-6
    for record in secure.history:
        told = record["secure_sum"]
        assert told["about"] == "updates" and told["opened"] == list(NAMES)
        facts = record["sections"]["plate"]
        assert facts["updates"] == 3 and facts["masked"] == list(NAMES)
        assert "steps" not in facts and "train_loss" not in facts


def test_rows_of_a_generator_leave_and_its_update_does_not(learn) -> None:
    """Three rounds: from the second on sites have no new rows, and updates all the same."""
    words = {"method": "generator", "layers": "features.4", "num_rounds": 3}
    plain, secure = (learn(**{**s, **words}) for s in (STUDENT, SECURE))
    one, other = (f.bank.sections["plate"] for f in (plain, secure))
    assert np.array_equal(one.features, other.features)
    assert np.abs(one.metric - other.metric).max() < 1e-6
    for record, like in zip(secure.history, plain.history, strict=True):
        facts = record["sections"]["plate"]
        assert not record["rejected"] and facts["masked"] == list(NAMES)
        assert facts["moved"] == pytest.approx(like["sections"]["plate"]["moved"], rel=1e-5)
        assert facts["moved"] > 0.1


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({}, "no update of this run's model"),
        ({"update.layout": np.zeros(8, np.uint8)}, "no update of this run's model"),
        ({"update.layout": None, "update.facts": np.zeros(7)}, "its update as it is"),
        ({"update.layout": None, "control.values": np.zeros(7)}, "its update as it is"),
    ],
)
def test_only_the_mark_of_an_update_of_this_model_is_taken(beside, said: str) -> None:
    like = {"a": np.zeros((2, 3), np.float32)}
    mark = np.frombuffer(bytes.fromhex(layout_of(like)), np.uint8)
    check_mark({"update.layout": mark, "weights": np.ones((1, 1), np.float32)}, "north", like)
    with pytest.raises(TrainingError, match=f"site 'north' .*{said}"):
        check_mark({k: mark if v is None else v for k, v in beside.items()}, "north", like)


def test_a_section_of_one_site_learns_nothing(learn) -> None:
    """``ring`` is west's alone: the sum would be its update."""
    federation = learn(**SECURE)
    for record in federation.history:
        assert record["sections"]["ring"]["updates"] == 0
        assert any("updates of ring stay at its sites: fewer than 3" in n for n in record["notes"])


@pytest.fixture
def quiet(monkeypatch):
    """Shares of the noise are 0 from now on."""
    monkeypatch.setattr(
        "fedpatchcore.site.secure_updates.discrete_gaussian",
        lambda sigma, size: np.zeros(size, np.int64),
    )


@pytest.fixture
def means(monkeypatch) -> list[tuple[np.ndarray, dict]]:
    """Means of updates as they come."""
    seen = []
    plain = Models.summed

    def spied(self, section, mean, sites, facts):
        seen.append((mean.copy(), facts))
        return plain(self, section, mean, sites, facts)

    monkeypatch.setattr(Models, "summed", spied)
    return seen


def test_noise_of_the_mean_is_what_the_ledger_was_charged_for(
    learn, means, tmp_path: Path, monkeypatch
) -> None:
    learn(**CLIENT)
    (loud, facts), *_ = means
    made = charges(tmp_path / "ledgers" / "north")
    with monkeypatch.context() as patch:
        patch.setattr(
            "fedpatchcore.site.secure_updates.discrete_gaussian",
            lambda sigma, size: np.zeros(size, np.int64),
        )
        learn(**{**CLIENT, "dp_budget_epsilon": 16.0, "dp_alone_epsilon": 400.0})
    silent = means[-1][0]
    noise = loud - silent
    sigma = gaussian_sigma(8.0, 1e-5)  # over the most that a site moves the sum: two clips
    due = sum_sigma(2 * sigma * 0.05, 3, 3, 1) / 3
    assert facts["noise"] == pytest.approx(due)
    assert due == pytest.approx(2 * sigma * 0.05 * (3 / 2) ** 0.5 / 3, rel=1e-5)  # 2 shares of 3
    assert noise.std() == pytest.approx(due, rel=5 / (2 * len(noise)) ** 0.5)
    assert abs(noise.mean()) < 5 * due / len(noise) ** 0.5
    (charge,) = made
    assert charge.mechanism == "client" and charge.multiplier == pytest.approx(sigma)
    assert gaussian_epsilon(charge.multiplier, 1e-5) == pytest.approx(8.0, rel=1e-6)
    assert charge.alone == pytest.approx(alone_multiplier(sigma, 3, 1))
    # and the multiplier is what the shares make of the lattice
    steps = 2 * share_steps(3, 1) ** 2
    assert (steps**0.5) * masked.step_of(_config(), 1) == pytest.approx(2 * sigma * 0.05, rel=1e-5)


def _config() -> RunConfig:
    return RunConfig(method="student", dp="client", dp_clip=0.05, dp_epsilon=8, dp_budget_epsilon=8)


def test_through_both_apps_nothing_of_an_update_leaves_as_it_is(run, members, tmp_path) -> None:
    seen: dict[str, set] = {}

    def alter(node, kind, reply):
        told = reply.content
        exchange = (told.get("texts") or {}).get("exchange", kind)
        seen.setdefault(exchange, set()).update(told.get("arrays") or {})
        if exchange == "masked":
            values = told["arrays"]["letter/values"].numpy()
            far = np.abs(values.view(np.int64)) > 2**40
            assert values.dtype == np.uint64 and far.mean() > 0.99
        return reply

    folder, _, _ = run(alter, told=members, **{**CLIENT, "num_rounds": 2})
    assert not any("update" in name for names in seen.values() for name in names)
    assert seen["masked"] == {"letter/values"} and "plate" in seen["train"]
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert bank.sections["plate"].student is not None
    assert "the server included" in bank.privacy["unit"]
    told = privacy(folder)
    assert told["epsilon"] == pytest.approx(8.0, rel=1e-6) and told["epsilon_alone"] > 8
    assert not any("trusted" in line for line in told["not_covered"])
    for name in NAMES:
        made = charges(tmp_path / "ledgers" / name)
        assert [c.section for c in made].count("plate") == 2 and "ring" not in {
            c.section for c in made
        }
    assert "including the server" in (folder / "report.html").read_text()
    events = [json.loads(x) for x in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["about"] for e in events if e["event"] == "summed"] == ["updates", "updates"]


def test_a_site_that_requires_privacy_takes_part_without_trusting_the_server(run, members) -> None:
    """With the noise at the sites nobody sees an update: no server need be trusted."""
    told = {at: {**n, "dp-required": True, "dp-budget-epsilon": 8.0} for at, n in members.items()}
    _, metrics, _ = run(told=told, **CLIENT)
    assert metrics["rounds"][0]["secure_sum"]["opened"] == list(NAMES)


def test_an_update_sent_as_it_is_is_refused_by_name(run, members) -> None:
    """West sends its update beside its answer, as in a run without secure sums."""
    from fedpatchcore.site import secure_updates

    plain = secure_updates.keep_updates

    def leaky(site, reply, **words):
        return reply if site.name == "west" else plain(site, reply, **words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedpatchcore.service.site_service.keep_updates", leaky)
        words = {**SECURE, "num_rounds": 1, "colluding_sites": 0, "min_sites": 2}
        _, metrics, _ = run(told=members, **words)
    assert "sent its update as it is" in metrics["rounds"][0]["rejected"]["west"]
    assert metrics["rounds"][0]["secure_sum"]["masked"] == ["north", "south"]


@pytest.mark.parametrize("exchange", ["shares", "masked", "open"])
def test_a_site_that_leaves_in_the_middle(run, members, exchange: str) -> None:
    def alter(node, kind, reply):
        texts = reply.content.get("texts") or {}
        return None if node == 12 and texts.get("exchange") == exchange else reply

    words = {"min_openers": 2, "colluding_sites": 0, "round_timeout": 2.0, "num_rounds": 1}
    _, metrics, _ = run(alter, told=members, **{**SECURE, **words})
    (record,) = metrics["rounds"]
    there = list(NAMES) if exchange == "open" else ["north", "west"]
    assert record["secure_sum"]["masked"] == there
    assert record["sections"]["plate"]["masked"] == there


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"optimiser": "scaffold"}, "the server keeps each site's control variate"),
        ({"optimiser": "fednova"}, "it takes each site's update by itself"),
        ({"optimiser": "fedmedian"}, "it compares the sites' updates one by one"),
        ({"optimiser": "krum"}, "it compares the sites' updates one by one"),
        ({"optimiser": "fedasync"}, "it takes each site's update by itself"),
        ({"update_wire": "int8"}, "sums of masked numbers need the same scale"),
        ({"update_wire": "float16"}, "masked numbers take 8 bytes"),
        ({"method": "feddymem"}, "averages of patches leave beside its updates"),
        ({"dp": "sgd"}, "its noise is in each site's own steps"),
        ({**CLIENT, "dp_clipping": "adaptive"}, "nobody counts the updates that are clipped"),
        ({"weighted_by_samples": True}, "does not know whose update counts how much"),
        ({"early_stop": 2}, "losses of each site would leave"),
        ({"min_sites": 2}, "a sum takes 3 sites"),
    ],
)
def test_what_does_not_add_up_is_refused_by_name(table, words, said) -> None:
    with pytest.raises(ValueError, match=said):
        table(**{**SECURE, **words})


def test_momenta_go_with_noise_that_comes_before_their_step(table) -> None:
    """What a server's optimiser does to an opened sum is free; to its own noise it is not."""
    for optimiser in MEANS:
        table(**CLIENT, optimiser=optimiser, **({"mu": 0.1} if optimiser == "fedprox" else {}))
    with pytest.raises(ValueError, match="noise comes after its step"):
        plain = {key: value for key, value in CLIENT.items() if key != "dp_alone_epsilon"}
        table(**{**plain, "secure_sums": False}, optimiser="fedavgm")
