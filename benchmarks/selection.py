"""Whose turn it is: bytes and seconds to the full bank's AUROC, by how sites are chosen.

    python benchmarks/selection.py [--seeds 0 1 2] [--late]

Fifty sites of magnetic tiles, each with images of one lighting (exposure), most of them of the
first, few of the rarest: 30, 8, 5, 3, 2, 2 sites. Everything that a site sends and the server
makes is real: coresets, deltas, the federation's own merge, the bytes of rows up and of banks
down. Durations are simulated, for 50 sites on one machine have none of their own: a site needs
`SECONDS` an image that it has not seen yet times its own slowness, and its bytes over its own
line, both log-normal (σ = 1); a round lasts as long as the slowest of those it waits for. Where all
sites judge by each bank they look at all their images for it, and that counts as well.

The goal is 99% of what the bank of all sites at once reaches, image AUROC as the mean over the six
exposures, on the same test images. ``--late``: ten sites, one at a tenth of the usual speed, with
and without ``round-closes-at = 0.8``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import exposure, extractor, keep, products, show, squeezenet

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.server.federation import Federation
from fedpatchcore.version import VERSION
from fedpatchcore.wire.delta import Broadcast
from fedpatchcore.wire.messages import SectionStats, SiteFacts, TrainReply

NAME = "magnetic_tile"
SPREAD = (30, 8, 5, 3, 2, 2)  # sites of each exposure
EACH, TESTS, ROWS, BANK, SIDE = 10, 50, 40, 400, 128
SECONDS, BANDWIDTH, SIGMA = 0.5, 2e6, 1.0  # an image; bytes a second; of the log-normal laws
GOAL, MOST = 0.99, 25


@dataclass
class Plant:
    """A site: its patches, how slow it is and how narrow its line."""

    name: str
    patches: np.ndarray
    slow: float = 1.0
    line: float = BANDWIDTH
    seen: bool = False
    sent: bool = False
    holds: str = ""

    def seconds(self, up: int, down: int) -> float:
        """Its work on one message; images count once."""
        work = 0.0 if self.seen else EACH * SECONDS * self.slow
        self.seen = True
        return work + (up + down) / self.line


@dataclass
class Field:
    """The sites of one seed, and the test images."""

    config: RunConfig
    prints: object
    plants: list[Plant]
    tests: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def facts(self) -> dict[str, SiteFacts]:
        told = self.prints.to_json()
        return {
            str(at): SiteFacts(p.name, (NAME,), (EACH,), (0,), "cpu", told, VERSION)
            for at, p in enumerate(self.plants)
        }

    def reply(self, plant: Plant, bank: np.ndarray | None, covers: float) -> TrainReply:
        """What a site answers to a train message, as `fedpatchcore.site` does it."""
        seed, patches = self.config.seed, plant.patches
        if plant.sent:
            return TrainReply(plant.name, "none", None, (SectionStats(NAME, 0, EACH),))
        plant.sent = True
        if bank is None:
            found = greedy_k_center(patches, ROWS, seed=seed)
            rows, radius, uncovered, kind = (
                patches[found.indices],
                found.radius,
                len(patches),
                "full",
            )
        else:
            far = NearestNeighbours(bank).search(patches)[0][:, 0]
            left, kind = patches[far > covers], "delta"
            uncovered, radius, rows = len(left), max(covers, float(far.max())), left[:0]
            if uncovered:
                found = greedy_k_center(left, ROWS, centres=bank, stop_radius=covers)
                rows, radius = left[found.indices], max(covers, found.radius)
        stats = SectionStats(
            NAME, EACH, EACH, patches=len(patches), rows=len(rows), uncovered=uncovered
        )
        if not len(rows):
            return TrainReply(plant.name, "none", None, (stats,))
        given = Contribution(
            plant.name, self.prints, {NAME: Part(rows, EACH, len(patches), radius)}
        )
        return TrainReply(plant.name, kind, given, (stats,))

    def measured(self, rows: np.ndarray) -> float:
        """Image AUROC of a bank, the mean over exposures."""
        nearest, found = NearestNeighbours(rows), []
        for features, bad in self.tests.values():
            far = nearest.search(features.reshape(-1, features.shape[-1]))[0][:, 0]
            found.append(image_auroc(far.reshape(len(features), -1).max(1), bad))
        return float(np.mean(found))


def settings(seed: int, **told: object) -> RunConfig:
    base = {"image_size": SIDE, "coreset_size": ROWS, "global_bank_size": BANK, "seed": seed}
    return squeezenet(**{"num_rounds": MOST, "calibration": "holdout", **base, **told})


def made(config: RunConfig, spread: tuple[int, ...]) -> Field:
    """Sites of one seed; each has `EACH` images of one exposure."""
    rng = np.random.default_rng(config.seed)
    tool, product = extractor(config), products(NAME)[NAME]
    by: dict[int, list[Path]] = {}
    for path in rng.permutation(sorted(product.train)):
        by.setdefault(exposure(path), []).append(path)
    plants, tests = [], {}
    for at, count in enumerate(spread, start=1):
        for number in range(count):
            start = number * EACH % (len(by[at]) - EACH + 1)
            features, _, _ = tool.all(by[at][start : start + EACH])
            slow, line = rng.lognormal(0, SIGMA), BANDWIDTH * rng.lognormal(0, SIGMA)
            name = f"plant-{len(plants):02}"
            rows = features.dense()
            patches = rows.reshape(-1, rows.shape[-1])
            plants.append(Plant(name, patches, float(slow), float(line)))
        every = [t for t in product.test if exposure(t.path) == at]
        picked = [every[i] for i in rng.permutation(len(every))[:TESTS]]
        features, _, _ = tool.all([t.path for t in picked])
        tests[at] = features.dense(), np.array([t.anomalous for t in picked])
    order = rng.permutation(len(plants))
    plants = [plants[i] for i in order]
    for at, plant in enumerate(plants):
        plant.name = f"plant-{at:02}"
    return Field(config, tool.backbone.fingerprint, plants, tests)


def played(ground: Field, goal: float) -> dict[str, float]:
    """Rounds until the goal: rounds, bytes, seconds, and what was reached."""
    config, plants = ground.config, {p.name: p for p in ground.plants}
    federation = Federation(config)
    broadcast = Broadcast("float32", seed=config.seed, deltas=True)
    total = {"up": 0, "down": 0, "seconds": 0.0}

    def sent(plant: Plant) -> int:
        packet = broadcast.packet(federation.bank, holds=plant.holds)
        plant.holds = broadcast._current
        return packet.nbytes

    for number in range(1, MOST + 1):
        federation.roll_call(ground.facts())
        bank = federation.bank.sections[NAME] if federation.bank else None
        times = []
        for name in federation.choose(plants, number):
            plant = plants[name]
            down = sent(plant) if bank is not None else 0
            reply = ground.reply(
                plant, None if bank is None else bank.features, bank.covers if bank else 0.0
            )
            times.append(plant.seconds(reply.nbytes, down))
            federation.accept(reply, seconds=times[-1])
            total["up"] += reply.nbytes
            total["down"] += down
        total["seconds"] += max(times)
        federation.bank = broadcast.publish(federation.merge(number))
        section = federation.bank.sections[NAME]
        if config.judged_by == "all":
            times, nearest = [], NearestNeighbours(section.features)
            for plant in plants.values():
                down = sent(plant)
                times.append(plant.seconds(0, down))
                total["down"] += down
                told = {}
                if not plant.sent:
                    far = nearest.search(plant.patches)[0][:, 0]
                    told = {NAME: {"uncovered": float((far > section.covers).mean())}}
                federation.story.record["evaluate"][plant.name] = {"products": told}
            total["seconds"] += max(times)
        federation.story.record["evaluate"] = {
            site: {"products": {p: {"calibrated": 0, **t} for p, t in told["products"].items()}}
            for site, told in federation.story.record["evaluate"].items()
        }
        federation.close(number)
        reached = ground.measured(section.features)
        if reached >= goal:
            break
    return {"rounds": number, **total, "auroc": reached}


WAYS = {
    "all": {},
    "random, 5 a round": {"selection": "random", "sites_per_round": 5, "judged_by": "chosen"},
    "adaptive, 5 a round": {"selection": "adaptive", "sites_per_round": 5, "judged_by": "chosen"},
    "adaptive, all judge": {"selection": "adaptive", "sites_per_round": 5},
}


def chosen(seeds: list[int]) -> None:
    rows, every = [], {way: [] for way in WAYS}
    for seed in seeds:
        whole = played(made(settings(seed, judged_by="chosen"), SPREAD), 0.0)
        for way, told in WAYS.items():
            config = settings(seed, **{"judged_by": "chosen", **told} if way == "all" else told)
            every[way].append(played(made(config, SPREAD), GOAL * whole["auroc"]))
            print(seed, way, whole["auroc"], every[way][-1], flush=True)
    for way, found in every.items():
        mean = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
        rows.append(
            {
                "selection": way,
                "rounds": mean["rounds"],
                "MB up": mean["up"] / 1e6,
                "MB down": mean["down"] / 1e6,
                "MB in all, each seed": ", ".join(
                    f"{(o['up'] + o['down']) / 1e6:.2f}" for o in found
                ),
                "seconds": mean["seconds"],
                "seconds, each seed": ", ".join(f"{o['seconds']:.0f}" for o in found),
                "AUROC": mean["auroc"],
            }
        )
    show("To 99% of the full bank's AUROC, 50 sites (simulated durations)", rows)
    keep("selection", every)


def late(seeds: list[int]) -> None:
    """One round of ten sites; the last is ten times as slow."""
    rows = []
    for seed in seeds:
        config = settings(seed, num_rounds=1)
        times, banks = {}, {}
        for way in ("patient", "round-closes-at = 0.8"):
            ground = made(config, (5, 1, 1, 1, 1, 1))
            for plant in ground.plants:
                plant.slow, plant.line = 1.0, BANDWIDTH
            ground.plants[-1].slow = 10.0
            federation = Federation(config)
            federation.roll_call(ground.facts())
            replies = [(ground.reply(p, None, 0.0), p) for p in ground.plants]
            order = sorted((p.seconds(r.nbytes, 0), p.name, r) for r, p in replies)
            waits = 8 if way != "patient" else len(order)
            for seconds, _, reply in order[:waits]:
                federation.accept(reply, seconds=seconds)
            first = federation.bank = federation.merge(1)
            federation.close(1)
            at, one = order[waits - 1][0], ground.measured(first.sections[NAME].features)
            for seconds, _, reply in order[waits:]:
                federation.accept(reply, seconds=seconds, late_from=1, covered=())
            if waits < len(order):
                federation.bank = federation.merge(2, quorum=False)
            last = federation.bank.sections[NAME].features
            banks[way], times[way] = last, (at, order[-1][0], one, ground.measured(last))
        same = all(np.array_equal(bank, banks["patient"]) for bank in banks.values())
        for way, (at, end, one, two) in times.items():
            rows.append(
                {
                    "seed": seed,
                    "round": way,
                    "first bank after, s": at,
                    "its AUROC": one,
                    "last bank after, s": end,
                    "AUROC": two,
                    "last banks equal": same,
                }
            )
    show("One of ten sites at a tenth of the speed (simulated durations)", rows)
    keep("selection_late", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--late", action="store_true", help="the second table alone")
    told = parser.parse_args()
    if not told.late:
        chosen(told.seeds)
    late(told.seeds)


if __name__ == "__main__":
    main()
