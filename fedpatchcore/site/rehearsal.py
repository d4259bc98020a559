"""Virtual sites that attack, so that a simulation can show what a defence is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.config import NodeConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.tally import Tally
from fedpatchcore.robustness.attacks import ATTACKS, malicious_sites
from fedpatchcore.site.measuring import truth_masks
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from fedpatchcore.site.virtual import virtual_sites
from fedpatchcore.spelling import typed
from fedpatchcore.wire.messages import SectionStats, TrainReply

__all__ = ["attacked", "defect_rows", "rehearse_attack"]


def attacked(
    site: Site, reply: TrainReply, names: Sequence[str], peer: Callable[[str], Contribution]
) -> TrainReply:
    """What this virtual site sends instead of ``reply``, if it is one of the malicious ones.

    Args:
        names: all virtual sites.
        peer: the honest contribution of another site, as an attacker with full knowledge has it.

    Raises:
        ConfigError: a real site, or noisy sums, which no attack changes.
    """
    config = site.config
    if not site.simulated:
        raise ConfigError(f"site '{site.name}' is real: attacks run in simulation only")
    if reply.kind == "sums":
        raise ConfigError(
            f"attack='{config.attack}' changes coresets, and with dp='{config.dp}' none are sent: "
            f"{typed('dp', 'off')}"
        )
    bad = malicious_sites(names, config.malicious_fraction, config.seed)
    if site.name not in bad or reply.contribution is None:
        return reply
    honest = [name for name in names if name not in bad]
    given = ATTACKS[config.attack](
        reply.contribution,
        strength=config.attack_strength,
        seed=config.seed,
        peers=[peer(honest[0])] if config.attack == "mimic" and honest else (),
        defects=defect_rows(site) if config.attack == "smuggling" else None,
    )
    site.say(f"ATTACK {config.attack}: this virtual site sends a malicious coreset")
    return replace(reply, contribution=given, stats=_claims(reply.stats, given))


def _claims(honest: Sequence[SectionStats], given: Contribution) -> tuple[SectionStats, ...]:
    """The figures that go with what is sent: an attacker's books are in order."""
    known = {s.section: s for s in honest} | {
        name: SectionStats(name) for name in given.parts if name not in {s.section for s in honest}
    }
    for name, part in given.parts.items():
        known[name] = replace(
            known[name],
            images=part.images,
            patches=part.patches,
            rows=len(part.features),
            radius=part.radius,
        )
    return tuple(known.values())


def defect_rows(site: Site) -> dict[str, np.ndarray]:
    """Patch features ``[M, D]`` inside the annotated defects of the site's test images."""
    found: dict[str, np.ndarray] = {}
    for section, products in site.sections().items():
        rows = []
        for product in products:
            tests = [t for t in product.test if t.anomalous]
            if not tests:
                continue
            for at, features in site.extractor.stream([t.path for t in tests], Tally()):
                height, width, _ = features.shape
                masks = truth_masks(site.extractor, [tests[at]], [(height, width)])
                inside = np.ones((height, width), bool)
                if masks is not None:
                    ys = np.arange(height) * masks[0].shape[0] // height
                    xs = np.arange(width) * masks[0].shape[1] // width
                    inside = np.logical_or.reduceat(masks[0], ys, axis=0)  # any pixel of a patch
                    inside = np.logical_or.reduceat(inside, xs, axis=1)
                rows.append(features[inside])
        if rows and sum(map(len, rows)):
            found[section] = np.concatenate(rows)
    if not found:
        raise ConfigError("attack='smuggling' needs defective test images at the virtual site")
    return found


def rehearse_attack(site: Site, reply: TrainReply, count: int) -> TrainReply:
    """What a virtual site of ``count`` sends if it is one of the run's malicious ones."""
    names = list(virtual_sites(site.config, count)) if site.simulated else [site.name]

    def peer(name: str) -> Contribution:
        node = NodeConfig(partition_id=names.index(name), num_partitions=len(names))
        return open_site(site.config, node).train().contribution

    return attacked(site, reply, names, peer)
