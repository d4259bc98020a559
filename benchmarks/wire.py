"""How few bytes can rows and banks travel in, and what does that cost?

Magnetic tiles over five sites that differ in light, and impellers over five sites at random;
every site ships 1,000 rows, every bank has 2,500. The same replies go through every ``wire``, up
and down, by the packets that Flower carries; all test images judge every bank, paired with
float32. ``--norm none`` repeats it on raw features.

``--rounds``: what round 2 sends when every site's folder has grown, as a delta and in full.
``--repeat 3``: the differences over several seeds of the server's selection (the sites send the
same rows each time): every wire against float32 of the same seed, and their mean with an interval
over images (one draw of images or tile groups for all seeds).
``--seeds``: the yardstick for all this: exact rows, with another first pick in the merge.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    SHARED,
    Clock,
    extractor,
    keep,
    patches,
    products,
    scores,
    show,
    squeezenet,
    tile_groups,
)
from federation import SHIP, SIZE, manifest
from wire_rounds import rounds

from fedpatchcore.data.partition import partition
from fedpatchcore.data.products import Product
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.metrics.curves import image_auroc, paired_bootstrap
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.site import Site
from fedpatchcore.wire.delta import Broadcast
from fedpatchcore.wire.held import HeldBank
from fedpatchcore.wire.messages import TrainReply
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.train import unpack_train

WIRES = ("float32", "float16", "int8", "pq")
PRODUCTS = ("magnetic_tile", "impeller")


def divided(name: str) -> dict[str, dict[str, Product]]:
    """Five sites: tiles by light, impellers at random."""
    whole = products(name)
    if name == "impeller":
        return partition(whole, "iid", sites=5, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        table = manifest(Path(folder))
        return partition(whole, "manifest", sites=5, manifest=table, root=SHARED / "data")


def through(wire: str, replies: list[TrainReply], config: Any, name: str) -> tuple[Any, dict]:
    """The bank that sites see, and what it took to bring it there."""
    rows: dict[str, Any] = {"wire": wire}
    federation = Federation(config)
    up, worst, mean, encode, decode = [], [], [], 0.0, 0.0
    for reply in replies:
        with Clock() as clock:
            packet = pack(reply, wire=wire, seed=config.seed)
        encode += clock.seconds / len(replies)
        with Clock() as clock:
            seen = unpack_train(packet)
        decode += clock.seconds / len(replies)
        up.append(seen.wire_bytes)
        sent, got = (r.contribution.parts[name] for r in (reply, seen))
        off = np.linalg.norm(sent.features - got.features, axis=1)
        worst.append(off.max() / sent.radius)
        mean.append(off.mean() / sent.radius)
        federation.accept(seen)
    merged = federation.merge(1)
    broadcast = Broadcast(wire, seed=config.seed)
    with Clock() as clock:
        bank = broadcast.publish(merged)
        packet = broadcast.packet(bank)
    radius = merged.section(name).radius
    with tempfile.TemporaryDirectory() as folder, Clock() as opened:
        HeldBank(SiteCache(Path(folder), 1.0), "site").receive(packet)
    rows |= {
        "up": float(np.mean(up)),
        "down": packet.nbytes,
        "error up, largest / radius": float(max(worst)),
        "error up, mean / radius": float(np.mean(mean)),
        "error down, largest / R": broadcast.errors.get(name, 0.0) / radius,
        "R": radius,
        "encode s a site": encode,
        "decode s a site": decode,
        "encode s bank": clock.seconds,
        "take in s bank": opened.seconds,
    }
    return bank.section(name), rows


def formats(norm: str, names: tuple[str, ...]) -> None:
    """Bytes, errors and detection of every wire."""
    config = squeezenet(
        layer_norm=norm, coreset_size=SHIP, global_bank_size=SIZE, holdout=0.0, min_sites=3
    )
    tool = extractor(config)
    kept = {}
    for name in names:
        whole, parts = products(name)[name], divided(name)
        sites = [Site(n, own, config, tool.backbone, cache=tool.cache) for n, own in parts.items()]
        replies = [site.train() for site in sites]
        banks, figures = {}, []
        for wire in WIRES:
            section, row = through(wire, replies, config, name)
            banks[wire] = section.features
            figures.append(row | {"R shipped": section.radius})
        found = scores(tool, whole.test, banks)
        readable = found["float32"].images
        labels = np.array([t.anomalous for t in readable])
        groups = tile_groups(readable) if name == "magnetic_tile" else None
        exact = found["float32"].scores
        everything = patches(tool, whole.train)[::7]
        shown = []
        for row in figures:
            mine = found[row["wire"]].scores
            difference = paired_bootstrap(labels, mine, exact, groups)
            row["image AUROC"] = image_auroc(mine, labels)
            row["points to float32"] = tuple(100 * d for d in difference)
            row["x fewer up"] = figures[0]["up"] / row["up"]
            row["x fewer down"] = figures[0]["down"] / row["down"]
            nearest, _ = NearestNeighbours(banks[row["wire"]]).search(everything)
            row["farthest training patch"] = float(nearest.max())
            row["mean training patch"] = float(nearest.mean())
            shown.append(
                {
                    "wire": row["wire"],
                    "KB up a site": f"{row['up'] / 1e3:.0f} (1/{row['x fewer up']:.1f})",
                    "KB down": f"{row['down'] / 1e3:.0f} (1/{row['x fewer down']:.1f})",
                    "image AUROC": f"{row['image AUROC']:.4f}",
                    "points": "{:+.2f} [{:+.2f}, {:+.2f}]".format(*row["points to float32"]),
                    "error up": f"{row['error up, largest / radius']:.4f} "
                    f"({row['error up, mean / radius']:.4f})",
                    "error down": f"{row['error down, largest / R']:.4f}",
                    "s up": f"{row['encode s a site']:.2f} / {row['decode s a site']:.3f}",
                    "s down": f"{row['encode s bank']:.2f} / {row['take in s bank']:.2f}",
                }
            )
        show(f"{name}, layer norm {norm}", shown)
        kept[name] = figures
        keep(f"wire_{norm}", kept)


def repeated(names: tuple[str, ...], wires: tuple[str, ...], count: int, norm: str) -> None:
    """Detection of every wire under several first picks of the merge."""
    config = squeezenet(
        layer_norm=norm, coreset_size=SHIP, global_bank_size=SIZE, holdout=0.0, min_sites=3
    )
    tool, kept = extractor(config), {}
    for name in names:
        whole, parts = products(name)[name], divided(name)
        sites = [Site(n, own, config, tool.backbone, cache=tool.cache) for n, own in parts.items()]
        replies, banks, up = [site.train() for site in sites], {}, {}
        for wire in ("float32", *(w for w in wires if w != "float32")):
            for seed in range(count):
                federation = Federation(config.model_copy(update={"seed": seed}))
                packets = [pack(reply, wire=wire, seed=seed) for reply in replies]
                up[wire] = float(np.mean([packet.nbytes for packet in packets]))
                for packet in packets:
                    federation.accept(unpack_train(packet))
                bank = Broadcast(wire, seed=seed).publish(federation.merge(1))
                banks[wire, seed] = bank.section(name).features
        found = scores(tool, whole.test, banks)
        labels = np.array([t.anomalous for t in found["float32", 0].images])
        groups = tile_groups(found["float32", 0].images) if name == "magnetic_tile" else None
        rows = []
        for wire in dict.fromkeys(wire for wire, _ in banks):
            mine = [found[wire, seed].scores for seed in range(count)]
            exact = [found["float32", seed].scores for seed in range(count)]
            each, mean, low, high = mean_difference(labels, mine, exact, groups)
            aurocs = [image_auroc(one, labels) for one in mine]
            rows.append(
                {
                    "wire": wire,
                    "x fewer up": f"{up['float32'] / up[wire]:.1f}",
                    "image AUROC by seed": ", ".join(f"{a:.4f}" for a in aurocs),
                    "points by seed": ", ".join(f"{100 * d:+.2f}" for d in each),
                    "mean": f"{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]",
                    "deviation over seeds": f"{100 * np.std(each, ddof=1):.2f}",
                }
            )
        show(f"{name}, layer norm {norm}, {count} seeds", rows)
        kept[name] = rows
        keep(f"wire_repeated_{norm}", kept)


def mean_difference(
    labels: np.ndarray, mine: list[np.ndarray], exact: list[np.ndarray], groups: list[str] | None
) -> tuple[list[float], float, float, float]:
    """AUROC differences by seed, their mean, and its 95% interval over images or groups."""

    def differences(at: np.ndarray) -> list[float]:
        some = labels[at]
        pairs = zip(mine, exact, strict=True)
        return [image_auroc(a[at], some) - image_auroc(b[at], some) for a, b in pairs]

    each = differences(np.arange(len(labels)))
    names = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    members = [np.flatnonzero(names == n) for n in range(names.max() + 1)]
    rng, draws = np.random.default_rng(0), []
    for _ in range(1000):
        drawn = rng.integers(len(members), size=len(members))
        at = np.concatenate([members[n] for n in drawn])
        if labels[at].any() and not labels[at].all():
            draws.append(np.mean(differences(at)))
    low, high = np.quantile(draws, [0.025, 0.975])
    return each, float(np.mean(each)), float(low), float(high)


def seeds(names: tuple[str, ...], count: int = 4) -> None:
    """How far detection moves when nothing changes but the seed of the server's selection."""
    config = squeezenet(coreset_size=SHIP, global_bank_size=SIZE, holdout=0.0, min_sites=3)
    tool, kept = extractor(config), {}
    for name in names:
        whole, parts = products(name)[name], divided(name)
        sites = [Site(n, own, config, tool.backbone, cache=tool.cache) for n, own in parts.items()]
        replies, banks = [site.train() for site in sites], {}
        for seed in range(count):
            federation = Federation(config.model_copy(update={"seed": seed}))
            for reply in replies:
                federation.accept(reply)
            banks[f"seed {seed}"] = federation.merge(1).section(name).features
        found = scores(tool, whole.test, banks)
        labels = np.array([t.anomalous for t in found["seed 0"].images])
        kept[name] = {seed: image_auroc(one.scores, labels) for seed, one in found.items()}
        show(f"{name}, exact rows, first pick of the merge", [kept[name]])
        keep("wire_seeds", kept)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--norm", choices=("unit", "none"), default="unit")
    options.add_argument("--rounds", action="store_true")
    options.add_argument("--wires", default=",".join(WIRES))
    options.add_argument("--share", type=float, default=0.9)
    options.add_argument("--seeds", action="store_true")
    options.add_argument("--repeat", type=int, default=0)
    options.add_argument("--products", default=",".join(PRODUCTS))
    given = options.parse_args()
    names = tuple(given.products.split(","))
    if given.rounds:
        rounds(tuple(given.wires.split(",")), given.share, names)
    elif given.repeat:
        repeated(names, tuple(given.wires.split(",")), given.repeat, given.norm)
    elif given.seeds:
        seeds(names)
    else:
        formats(given.norm, names)


if __name__ == "__main__":
    main()
