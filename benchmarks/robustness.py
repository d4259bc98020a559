"""What do faulty sites cost? Every attack against every way to make a bank of magnetic tiles.

Partitions: `manifest` (five sites that differ in light; 0, 1 or 2 malicious) and `category` (three
products over five sites; one of two makers of tiles is malicious, their section is judged). Sites
ship 1,000 rows. Judged on every second tile of the test set. A fifth of the training tiles is held
out at all sites and sets thresholds (target rate 5%).

Smuggling knows everything: half of the rows are patches inside the defects of the very test images,
up to a hundred a kind, first in order. `mixed` spreads them among the honest rows, so that any
prefix holds both; `break` takes one kind; `others` takes defects of tiles that are not judged. A
`liar` does more than rows can: it sends distances, on defective images those of the nearest honest
site, elsewhere its own. All columns take what passes `Contribution.check`; votes also `screen`:

    vote    site_vote: the (f + 1)-th smallest of the sites' distances
    less    the same, with f less the number of refused sites: those were faulty for certain
    panel   as vote, among the 2f + 1 sites that know the image best (lowest median distance)
    own     an honest site that trusts its own rows too: the smaller of its distance and the vote
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import SHARED, Clock, extractor, keep, patches, products, show, squeezenet, tile_groups
from federation import SHIP, SIZE, manifest
from torch.nn import functional as F

from fedpatchcore.aggregation import AGGREGATIONS, Donor, Settings
from fedpatchcore.calibration import calibrate, hold_out
from fedpatchcore.contribution import Contribution
from fedpatchcore.coreset import greedy_k_center
from fedpatchcore.data.partition import partition
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.errors import CoresetError
from fedpatchcore.evaluation import truth_masks
from fedpatchcore.metrics import image_auroc, paired_bootstrap, pixel_auroc
from fedpatchcore.robustness.attacks import ATTACKS, malicious_sites
from fedpatchcore.robustness.sitescores import outliers, site_scores
from fedpatchcore.robustness.validation import limits_of, screen
from fedpatchcore.scoring import anomaly_map
from fedpatchcore.site import Site

TILES, NAMES = "magnetic_tile", ("cookie", "impeller", "magnetic_tile")
KINDS = ("blowhole", "break", "crack", "fray", "uneven")
SMUGGLING = ("smuggling", "smuggling mixed", "smuggling break", "smuggling others")
HOSTILE = (*(name for name in ATTACKS if name != "smuggling"), *SMUGGLING)
BANKS = ("federated_coreset", "coordinate_median", "row-wise median")
VOTES = {f"{how} {n:,}": (n, how) for how in ("vote", "less", "panel") for n in (2500, 5000)}
QUOTAS = (500, 625, 833, 1000)  # rows of a site in a bank of 2,500: five, four, three, two sites


class Court:
    """The images that are judged and those held out, and the distances measured so far."""

    def __init__(self, tool, tests: Sequence[TestImage], held: Sequence[Path]) -> None:
        def features(paths: Sequence[Path]) -> np.ndarray:
            return patches(tool, paths).reshape(len(paths), -1, tool.backbone.fingerprint.dimension)

        groups = np.array(tile_groups(tests))
        judged = np.isin(groups, sorted(set(groups))[::2])
        mine = [t for t, j in zip(tests, judged, strict=True) if j]
        others = [t for t, j in zip(tests, judged, strict=True) if not j and t.anomalous]
        self.groups = groups[judged].tolist()
        self.kinds = np.array([t.label for t in mine])
        self.labels = np.array([t.anomalous for t in mine])
        self.masks = truth_masks(tool, mine)
        self.tests, self.held = features([t.path for t in mine]), features(held)
        known = (self.tests, self.masks, self.kinds)
        foreign = features([t.path for t in others]), truth_masks(tool, others)
        self.pools = {
            "smuggling": smuggled(*known, KINDS, 100),
            "smuggling break": smuggled(*known, ["break"], 500),
            "smuggling others": smuggled(*foreign, np.array([t.label for t in others]), KINDS, 100),
        }
        self.cache, self.name = tool.cache, hashlib.sha256(self.tests.data).hexdigest()

    def distances(self, rows: np.ndarray, sizes: Sequence[int], held: bool) -> list[np.ndarray]:
        """Distances ``[n, hw]`` of all patches to the first rows, for each of several sizes."""
        images = self.held if held else self.tests
        key = hashlib.sha256(f"{self.name}{sizes}{held}".encode())
        key.update(np.ascontiguousarray(rows))
        if (known := self.cache.get(key.hexdigest())) is None:
            middle = rows.mean(0)
            bank, found = torch.from_numpy(rows - middle), []
            for part in np.array_split(images, len(images) // 8 + 1):
                block = torch.from_numpy(part - middle).flatten(0, 1)
                squares = torch.addmm(bank.square().sum(1)[None], block, bank.T, alpha=-2)
                least = torch.stack([squares[:, :size].amin(1) for size in sizes])
                least = (least + block.square().sum(1)).clamp_(min=0).sqrt_()
                found.append(least.unflatten(1, part.shape[:2]).numpy())
            known = {}, {"distances": np.concatenate(found, axis=1)}
            self.cache.put(key.hexdigest(), known[1])
        return list(known[1]["distances"])

    def figures(self, name: str, tests: np.ndarray, *held: np.ndarray) -> dict[str, float]:
        """Image AUROC; with held-out distances pixel AUROC and the rate of missed defects too."""
        found = {"image": image_auroc(tests.max(1), self.labels)}
        for normal in held:
            side = int(tests.shape[1] ** 0.5)
            maps = anomaly_map(tests.reshape(-1, side, side), self.masks.shape[1])
            found["pixel"] = pixel_auroc(maps, self.masks)
            bad = self.kinds == "break" if name == "smuggling break" else self.labels
            found["missed"] = (tests.max(1)[bad] <= calibrate(normal.max(1), 0.05).value).mean()
        return found


def smuggled(features, masks, kinds, wanted: Sequence[str], count: int) -> np.ndarray:
    """Rows of patches that lie at least half inside a defect, or where most of it lies."""
    side = int(features.shape[1] ** 0.5)
    share = F.interpolate(torch.from_numpy(masks[:, None]).float(), side, mode="area")
    share = share.flatten(1).numpy()
    inside = (share >= 0.5) | ((share > 0) & (share == share.max(1, keepdims=True)))
    pools = [features[kinds == kind][inside[kinds == kind]] for kind in wanted]
    return np.concatenate([p[greedy_k_center(p, min(count, len(p))).indices] for p in pools])


def attacked(name: str, one: Contribution, honest, court: Court, seed: int) -> Contribution:
    """What a malicious site sends."""
    strength = 0.5 if name in (*SMUGGLING, "centroid_drag") else 1.0
    options = {"defects": {TILES: court.pools.get(name, court.pools["smuggling"])}, "peers": honest}
    sent = ATTACKS[name.split()[0]](one, strength=strength, seed=seed, **options)
    if name == "smuggling mixed":
        part = sent.parts[TILES]
        order = np.random.default_rng(seed).permutation(len(part.features))
        sent = replace(sent, parts={TILES: replace(part, features=part.features[order])})
    return sent


def passed(sent: Sequence[Contribution], *, screened: bool) -> list[Contribution]:
    """Contributions that get through the door, and with ``screened`` through the screening."""
    good = []
    for one in sent:
        with suppress(CoresetError):
            one.check()
            for section, part in one.parts.items() if screened else ():
                screen(one.site, section, part.features, limits_of(one.fingerprint))
            good.append(one)
    return good


def merged(column: str, donors: Sequence[Donor], settings: Settings) -> np.ndarray:
    """Rows of a bank; the row-wise median is unsound: only their numbers align the rows."""
    if column in AGGREGATIONS:
        return AGGREGATIONS[column](donors, settings).features
    count = min(settings.size // len(donors), *(len(d.features) for d in donors))
    return np.median([d.features[:count] for d in donors], axis=0).astype(np.float32)


def vote(distances: Sequence[np.ndarray], tolerated: int, panel: bool) -> np.ndarray:
    """(f + 1)-th smallest distance over sites, or over the 2f + 1 that know the image best."""
    stack = np.stack(distances)  # [sites, n, hw]
    if panel:
        best = np.argsort(np.median(stack, axis=2), axis=0, kind="stable")[: 2 * tolerated + 1]
        stack = np.take_along_axis(stack, best[:, :, None], axis=0)
    return np.sort(stack, axis=0)[min(tolerated, len(stack) - 1)]


def trial(name: str, given, bad: Sequence[str], court: Court, f: int, seed: int, banks) -> dict:
    """Figures of all columns under one attack of the sites ``bad``, f of them tolerated."""
    honest = [c for c in given if c.site not in bad]
    hostile = () if name in ("none", "liar") else bad
    sent = [attacked(name, c, honest, court, seed) if c.site in hostile else c for c in given]
    sets = (False, True) if name == "none" or name in SMUGGLING else (False,)
    parts = {c.site: c.parts[TILES] for c in passed(sent, screened=False)}
    donors = [Donor(s, part.features, part.images) for s, part in parts.items()]
    found, figures = {}, {}
    for column in banks:
        with suppress(CoresetError):  # one of two sites can leave no cell that both support
            rows = merged(column, donors, Settings(SIZE, seed=seed, tolerated=f))
            found[column] = [court.distances(rows, (len(rows),), held)[0] for held in sets]
    voters = {c.site: c.parts[TILES].features[:SHIP] for c in passed(sent, screened=True)}
    facts = {"attack": name, "malicious": list(bad), "f": f, "seed": seed}
    facts["refused"] = sorted({c.site for c in sent} - set(voters))
    for column, (size, how) in VOTES.items():
        left = max(f - len(facts["refused"]), 0) if how == "less" else f
        at, found[column] = QUOTAS.index(min(SHIP, size // len(voters))), []
        for held in sets:
            votes = {s: court.distances(r, QUOTAS, held)[at] for s, r in voters.items()}
            if name == "liar":
                near = np.min([votes[c.site] for c in honest], axis=0)
                votes |= {s: np.where(court.labels[:, None], near, votes[s]) for s in bad}
            found[column].append(vote(list(votes.values()), left, how == "panel"))
        own = [court.distances(c.parts[TILES].features, QUOTAS, False)[-1] for c in honest]
        own = [image_auroc(np.minimum(o, found[column][0]).max(1), court.labels) for o in own]
        figures[f"{column}, own"] = {"image": float(np.mean(own))}
    figures |= {column: court.figures(name, *measured) for column, measured in found.items()}
    print(*facts.values(), {k: round(v["image"], 3) for k, v in figures.items()}, flush=True)
    return {**facts, "figures": figures, "scores": {k: v[0].max(1) for k, v in found.items()}}


def accused(given: Sequence[Contribution]) -> list[str]:
    """Honest sites that screening would refuse or site scores would name."""
    named = sorted({c.site for c in given} - {c.site for c in passed(given, screened=True)})
    for section in sorted({name for c in given for name in c.parts}):
        rows = {c.site: c.parts[section].features for c in given if section in c.parts}
        named += outliers(scores := site_scores(rows, seed=0))
        print(section, "site scores", {s: round(x, 2) for s, x in scores.items()}, flush=True)
    return named


def bar(column: str, trials: Sequence[dict], court: Court) -> dict:
    """Worst loss to one malicious site and cost without any: means over seeds against 1 point."""
    calm = {t["seed"]: t for t in trials if t["attack"] == "none" and t["f"] == 1}
    lost: dict[str, list[float]] = {}
    for t in (t for t in trials if len(t["malicious"]) == 1 and t["attack"] != "liar"):
        before = calm[t["seed"]]["figures"][column]["image"]
        lost.setdefault(t["attack"], []).append(before - t["figures"][column]["image"])
    worst = max(lost, key=lambda name: np.mean(lost[name]))
    over = ", ".join(name for name, losses in lost.items() if np.mean(losses) > 0.01)
    at = [c["figures"] for c in calm.values()]
    cost = [f["federated_coreset"]["image"] - f[column]["image"] for f in at]
    row: dict = {"column": column, "seeds": len(calm), "over": over, "worst": worst}
    for number, (what, values) in enumerate((("loss", lost[worst]), ("cost", cost)), 1):
        row[what] = float(np.mean(values))
        row[f"bar {number}"] = "PASS" if row[what] <= 0.01 else "FAIL"
    if column in (clean := calm[0]["scores"]):
        hit = next(t for t in trials if t["attack"] == worst)["scores"][column]
        for what, other in (("loss", hit), ("cost", clean["federated_coreset"])):
            told = paired_bootstrap(court.labels, clean[column], other, court.groups, n=1000)
            row[f"minus it, {what}"] = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*told)
    return row


def table(trials: Sequence[dict], figure: str) -> list[dict]:
    """Rows of the printed table: the first seed's trials that have this figure."""
    shown = [t for t in trials if t["seed"] == 0 and figure in t["figures"]["vote 2,500"]]
    columns = [c for c, known in shown[0]["figures"].items() if figure in known]
    return [
        {"attack": t["attack"], "malicious": len(t["malicious"]), "f": t["f"]}
        | {c: t["figures"].get(c, {}).get(figure, "") for c in columns}
        for t in shown
    ]


def sites_of(whole: dict[str, Product], out: set[Path]) -> dict[str, dict]:
    """Both partitions, without the held-out tiles."""
    with tempfile.TemporaryDirectory() as folder:
        where = {"manifest": manifest(Path(folder)), "root": SHARED / "data"}
        light = partition({TILES: whole[TILES]}, "manifest", sites=5, **where)
    schemes = {"manifest": light, "category": partition(whole, "category", sites=5, seed=0)}
    for own in (own for parts in schemes.values() for own in parts.values()):
        for name, it in own.items():
            own[name] = replace(it, train=tuple(p for p in it.train if p not in out))
    return schemes


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, default=3, help="of attackers and k-center starts")
    seeds = range(options.parse_args().seeds)
    torch.set_num_threads(2)
    config = squeezenet(coreset_size=SHIP, global_bank_size=SIZE, holdout=0.0, compare_local=False)
    tool = extractor(config)
    good = (whole := products(*NAMES))[TILES].train
    groups = tile_groups([TestImage(p, "good") for p in good])
    held = hold_out([p.name for p in good], 0.2, seed=0, groups=groups)
    out = [p for p, h in zip(good, held, strict=True) if h]
    court = Court(tool, whole[TILES].test, out[::2])
    results: dict = {"judged": len(court.labels), "held out": len(court.held)}
    for scheme, parts in sites_of(whole, set(out)).items():
        trials = []
        for seed in seeds:
            mine = config.model_copy(update={"seed": seed})
            if seed:  # the first seed has shown that nobody is accused
                parts = {n: {TILES: own[TILES]} for n, own in parts.items() if TILES in own}
            sites = [Site(n, p, mine, tool.backbone, cache=tool.cache) for n, p in parts.items()]
            given = [site.train().contribution for site in sites]
            if not seed:
                results[f"{scheme}: accused"] = named = accused(given)
                print(f"bar 3, {scheme}: {'FAIL' if named else 'PASS'}", named, flush=True)
            given = [replace(c, parts={TILES: c.parts[TILES]}) for c in given if TILES in c.parts]
            names = [c.site for c in given]
            for f in (1, 2) if len(names) > 2 and not seed else (1,):
                trials.append(trial("none", given, (), court, f, seed, BANKS[: 2 if seed else 3]))
                bad = malicious_sites(names, f / len(names), seed)
                for name in (*HOSTILE, "liar"):
                    banks = () if name == "liar" else BANKS[1:2] if seed else BANKS
                    trials.append(trial(name, given, bad, court, f, seed, banks))
        for figure in ("image", "pixel", "missed"):
            show(f"{scheme}: {figure}", table(trials, figure))
        judged = [BANKS[1], *VOTES] if scheme == "manifest" else [f"{c}, own" for c in VOTES]
        results[f"{scheme}: bars"] = [bar(c, trials, court) for c in judged]
        show(f"{scheme}: bars 1 and 2", results[f"{scheme}: bars"])
        results[scheme] = [{k: v for k, v in t.items() if k != "scores"} for t in trials]
        keep("robustness", results)


if __name__ == "__main__":
    with Clock() as clock:
        main()
    print(f"{clock.seconds:.0f} s")
