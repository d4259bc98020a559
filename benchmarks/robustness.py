"""What do faulty sites cost? Every attack against every way to make a bank of magnetic tiles.

Partitions: `manifest` (five sites that differ in light; 0, 1 or 2 malicious) and `category` (three
products over five sites; one of two makers of tiles is malicious, their section is judged). Sites
ship 1,000 rows. Judged on every second tile of the test set. A fifth of the training tiles is held
out at all sites and sets thresholds (target rate 5%).

Smuggling knows everything: half of the rows are patches inside the defects of the very test images,
up to a hundred a kind, first in order. `mixed` spreads them among the honest rows, so that any
prefix holds both; `break` takes one kind; `others` takes defects of tiles that are not judged. A
`liar` does more than rows can: it sends distances, on defective images those of the nearest honest
site, elsewhere its own. `two-faced` is the worst that a liar can do: elsewhere it is far away. All
columns take what passes `Contribution.check`; votes also `screen`:

    vote    site_vote: the (f + 1)-th smallest of the sites' distances
    home    site_vote at honest sites that trust their own rows; every image is judged by the site
            of its light, images of malicious sites' lights by nobody
    homes   the same, but every honest site judges all images: means over sites
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import SHARED, Clock, extractor, keep, patches, products, show, squeezenet, tile_groups
from court import Court, at_home, nearest, voted
from federation import SHIP, SIZE, manifest

from fedpatchcore.aggregation import AGGREGATIONS, Donor, MergeSettings
from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.config import RunConfig
from fedpatchcore.data.partition import partition
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.detection.calibration import hold_out
from fedpatchcore.errors import CoresetError
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.metrics.curves import image_auroc, paired_bootstrap
from fedpatchcore.robustness.attacks import ATTACKS, malicious_sites
from fedpatchcore.robustness.sitescores import outliers, site_scores
from fedpatchcore.robustness.validation import limits_of, screen
from fedpatchcore.site.site import Site

TILES, NAMES = "magnetic_tile", ("cookie", "impeller", "magnetic_tile")
SMUGGLING = ("smuggling", "smuggling mixed", "smuggling break", "smuggling others")
HOSTILE = (*(name for name in ATTACKS if name != "smuggling"), *SMUGGLING)
LIARS, FAR = ("liar", "two-faced"), 1e3
BANKS = ("federated_coreset", "coordinate_median", "row-wise median")
BANK_ROWS = (2500, 5000)
VOTES, HOME, HOMES = (tuple(f"{w} {n:,}" for n in BANK_ROWS) for w in ("vote", "home", "homes"))
QUOTAS = (500, 625, 833, 1000)  # rows of a site in a bank of 2,500: five, four, three, two sites


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


def merged(column: str, donors: Sequence[Donor], settings: MergeSettings) -> np.ndarray:
    """Rows of a bank; the row-wise median is unsound: only their numbers align the rows."""
    if column in AGGREGATIONS:
        return AGGREGATIONS[column](donors, settings).features
    count = min(settings.size // len(donors), *(len(d.features) for d in donors))
    return np.median([d.features[:count] for d in donors], axis=0).astype(np.float32)


def trial(name: str, given, bad: Sequence[str], court: Court, f: int, seed: int, banks) -> dict:
    """Figures of all columns under one attack of the sites ``bad``, f of them tolerated."""
    honest = [c for c in given if c.site not in bad]
    hostile = () if name in ("none", *LIARS) else bad
    sent = [attacked(name, c, honest, court, seed) if c.site in hostile else c for c in given]
    sets = (False, True) if name == "none" or name in SMUGGLING else (False,)
    parts = {c.site: c.parts[TILES] for c in passed(sent, screened=False)}
    donors = [Donor(s, part.features, part.images) for s, part in parts.items()]
    found, figures = {}, {}
    for column in banks:
        with suppress(CoresetError):  # one of two sites can leave no cell that both support
            rows = merged(column, donors, MergeSettings(SIZE, seed=seed, tolerated=f))
            found[column] = [court.distances(rows, (len(rows),), held)[0] for held in sets]
    voters = {c.site: c.parts[TILES].features[:SHIP] for c in passed(sent, screened=True)}
    facts = {"attack": name, "malicious": list(bad), "f": f, "seed": seed}
    facts["refused"] = sorted({c.site for c in sent} - set(voters))
    homes: dict[str, dict[str, float]] = {}
    for size, vote, home, mean in zip(BANK_ROWS, VOTES, HOME, HOMES, strict=True):
        at, found[vote], found[home] = QUOTAS.index(min(SHIP, size // len(voters))), [], []
        for held in sets:
            votes = {s: court.distances(r, QUOTAS, held)[at] for s, r in voters.items()}
            if name in LIARS:
                near = np.min([votes[c.site] for c in honest], axis=0)
                for s in bad:
                    calm = votes[s] if name == "liar" else np.full_like(near, FAR)
                    votes[s] = np.where(court.labels[:, None], near, calm)
            names, stack = list(votes), list(votes.values())
            found[vote].append(voted(stack, f + 1))
            own = {c.site: voted(stack, f + 1, names.index(c.site)) for c in honest}
            found[home].append(at_home(own, court.held_light if held else court.light))
            if not held:
                homes[mean] = {s: image_auroc(d.max(1), court.labels) for s, d in own.items()}
        figures[mean] = {"image": float(np.mean(list(homes[mean].values())))}
    if len(voters) < 3:  # makers of tiles by product, not by light
        found = {column: measured for column, measured in found.items() if column not in HOME}
    figures = {c: court.figures(name, *measured) for c, measured in found.items()} | figures
    print(*facts.values(), {k: round(v["image"], 3) for k, v in figures.items()}, flush=True)
    scores = {k: v[0].max(1) for k, v in found.items()}
    return {**facts, "figures": figures, "scores": scores, "homes": homes}


def accused(given: Sequence[Contribution]) -> list[str]:
    """Honest sites that screening would refuse or site scores would name."""
    named = sorted({c.site for c in given} - {c.site for c in passed(given, screened=True)})
    for section in sorted({name for c in given for name in c.parts}):
        rows = {c.site: c.parts[section].features for c in given if section in c.parts}
        named += outliers(scores := site_scores(rows, seed=0))
        print(section, "site scores", {s: round(x, 2) for s, x in scores.items()}, flush=True)
    return named


def loss(column: str, calm: dict, hit: dict, court: Court) -> float:
    """Image AUROC lost to an attack, over the same images and the same sites."""
    if column in HOMES:
        before, after = calm["homes"][column], hit["homes"][column]
        return float(np.mean([before[site] - after[site] for site in after]))
    before, after = calm["scores"][column], hit["scores"][column]
    mine = ~np.isnan(after)
    return image_auroc(before[mine], court.labels[mine]) - image_auroc(
        after[mine], court.labels[mine]
    )


def compare(trials: Sequence[dict], court: Court) -> None:
    """Add to each figure of voted banks what the attack has ``lost``."""
    calm = {(t["seed"], t["f"]): t for t in trials if t["attack"] == "none"}
    for t in trials:
        for column in {*VOTES, *HOME, *HOMES} & set(t["figures"]):
            t["figures"][column]["lost"] = loss(column, calm[t["seed"], t["f"]], t, court)


def bar(column: str, trials: Sequence[dict], court: Court) -> dict:
    """Worst loss to one malicious site and cost without any: means over seeds against 1 point."""
    calm = {t["seed"]: t for t in trials if t["attack"] == "none" and t["f"] == 1}
    lost: dict[str, list[float]] = {}
    for t in (t for t in trials if len(t["malicious"]) == 1 and column in t["figures"]):
        lost.setdefault(t["attack"], []).append(t["figures"][column]["lost"])
    lies = {f"loss to {name}": float(np.mean(lost.pop(name))) for name in LIARS}
    worst = max(lost, key=lambda name: np.mean(lost[name]))
    over = ", ".join(name for name, losses in lost.items() if np.mean(losses) > 0.01)
    at = [c["figures"] for c in calm.values()]
    cost = [f["federated_coreset"]["image"] - f[column]["image"] for f in at]
    row: dict = {"column": column, "seeds": len(calm), "over": over, "worst": worst}
    for number, (what, values) in enumerate((("loss", lost[worst]), ("cost", cost)), 1):
        row[what] = float(np.mean(values))
        row[f"by seed, {what}"] = ", ".join(f"{v:.3f}" for v in values)
        row[f"bar {number}"] = "PASS" if row[what] <= 0.01 else "FAIL"
    row |= lies
    for what in ("loss", "cost") if column in (clean := calm[0]["scores"]) else ():
        struck = next(t for t in trials if t["attack"] == worst)["scores"]
        other = struck[column] if what == "loss" else clean["federated_coreset"]
        mine = np.flatnonzero(~np.isnan(other))
        given = (labels[mine] for labels in (court.labels, clean[column], other))
        told = paired_bootstrap(*given, [court.groups[i] for i in mine], n=1000)
        row[f"minus it, {what}"] = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*told)
    return row


def table(trials: Sequence[dict], figure: str) -> list[dict]:
    """Rows of the printed table: the first seed's trials that have this figure."""
    shown = [t for t in trials if t["seed"] == 0 and figure in t["figures"][VOTES[0]]]
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


def alike(tool: Extractor, config: RunConfig, impellers: Product) -> list[dict]:
    """What votes cost where sites do not differ: image AUROC of impellers dealt at random."""
    parts = partition({"impeller": impellers}, "iid", sites=5, seed=config.seed)
    sites = [Site(n, p, config, tool.backbone, cache=tool.cache) for n, p in parts.items()]
    given = [site.train().contribution.parts["impeller"].features for site in sites]
    tests = [t.path for t in impellers.test]
    images = patches(tool, tests).reshape(len(tests), -1, tool.backbone.fingerprint.dimension)
    labels, rows = np.array([t.anomalous for t in impellers.test]), []
    sizes = [min(SHIP, size // len(parts)) for size in BANK_ROWS]
    for at, stack in enumerate(np.stack([nearest(images, g, sizes) for g in given], axis=1)):
        homes = [voted(stack, 2, home) for home in range(len(stack))]
        measured = {"nearest row of all": stack.min(0), "vote": voted(stack, 2)}
        row: dict = {"rows": BANK_ROWS[at]}
        row |= {name: image_auroc(d.max(1), labels) for name, d in measured.items()}
        row["homes"] = float(np.mean([image_auroc(d.max(1), labels) for d in homes]))
        row["alone"] = float(np.mean([image_auroc(d.max(1), labels) for d in stack]))
        rows.append(row)
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, default=3, help="of attackers and k-center starts")
    options.add_argument("--banks", type=int, default=1, help="seeds that attack merged banks too")
    told = options.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
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
        for seed in range(told.seeds):
            mine = config.model_copy(update={"seed": seed})
            if seed:  # the first seed has shown that nobody is accused
                parts = {n: {TILES: own[TILES]} for n, own in parts.items() if TILES in own}
            sites = [Site(n, p, mine, tool.backbone, cache=tool.cache) for n, p in parts.items()]
            given = [site.train().contribution for site in sites]
            if not seed:
                results[f"{scheme}: accused"] = named = accused(given)
                print(f"bar 3, {scheme}: {'FAIL' if named else 'PASS'}", named, flush=True)
            given = [replace(c, parts={TILES: c.parts[TILES]}) for c in given if TILES in c.parts]
            names, banks = [c.site for c in given], BANKS if seed < told.banks else ()
            for f in (1, 2) if len(names) > 2 and not seed else (1,):
                trials.append(trial("none", given, (), court, f, seed, banks or BANKS[:1]))
                bad = malicious_sites(names, f / len(names), seed)
                for name in (*HOSTILE, *LIARS):
                    merge = () if name in LIARS else banks
                    trials.append(trial(name, given, bad, court, f, seed, merge))
        compare(trials, court)
        for figure in ("image", "lost", "pixel", "missed"):
            show(f"{scheme}: {figure}", table(trials, figure))
        judged = (*VOTES, *HOME, *HOMES) if scheme == "manifest" else HOMES
        results[f"{scheme}: bars"] = [bar(c, trials, court) for c in judged]
        show(f"{scheme}: bars 1 and 2", results[f"{scheme}: bars"])
        for t in trials:
            del t["scores"], t["homes"]
        results[scheme] = trials
        keep("robustness", results)
    results["impellers"] = alike(tool, config, whole["impeller"])
    show("impellers over five like sites, nobody malicious", results["impellers"])
    keep("robustness", results)


if __name__ == "__main__":
    with Clock() as clock:
        main()
    print(f"{clock.seconds:.0f} s")
