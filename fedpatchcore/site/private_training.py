"""A private site's answer in a round of training: an update that its ledger was charged for.

With ``dp = "sgd"`` the site's own local steps are noisy (`fedpatchcore.learned.private`): the round
is charged before the first of them runs, and what they made is kept with the charge, so that a
retry sends the same. With ``dp = "client"`` the noise is the server's, who sees the update; the
ledger is charged for the models that the server makes public. With ``secure-sums`` the noise is the
sites' own, who charge it with the masked update (`fedpatchcore.site.secure_updates`).

Beside the update nothing leaves that images have a part in: no loss, no count, no mean of patches.
The number of steps follows from the run's settings alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.errors import DataError
from fedpatchcore.features.maps import Gathering
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.private import ImageNoise
from fedpatchcore.privacy.load import Load, load_of
from fedpatchcore.privacy.training_noise import client_multiplier, step_multiplier
from fedpatchcore.site.charging import check_delta, noted, release, request_for
from fedpatchcore.site.methods.gradients import Quiet, given_beside, trained, version_of
from fedpatchcore.site.methods.registry import Asked, site_method
from fedpatchcore.site.private import distinct_images
from fedpatchcore.site.vetting import vet
from fedpatchcore.wire.messages import SectionStats, TrainReply

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["trained_reply"]


def trained_reply(site: Site, asked: Asked) -> TrainReply:
    """The update of each section, charged.

    Raises:
        PrivacyError: the budget does not suffice, the ledger is damaged, or δ is too large for so
            many images. No step was taken then.
        FingerprintError, BankError: the bank is another extractor's, or none of this run's.
    """
    if asked.bank is not None:
        site.backbone.fingerprint.require(
            asked.bank.fingerprint, ours=f"site '{site.name}'", theirs="the bank"
        )
        vet(asked.bank, site.config)
    charge = _Charge(site)
    parts, stats, again = {}, [], []
    for section in site.sections():
        arrays, sent_before = _section(site, section, asked, charge)
        blank = np.zeros((1, site.backbone.dimension), np.float32)
        parts[section] = Part(blank, 1, 1, 0.0, dict(arrays))
        stats.append(SectionStats(section, images=1, patches=1, rows=1))
        again.append(sent_before)
    return TrainReply(
        site.name,
        "full",
        Contribution(site.name, site.backbone.fingerprint, parts),
        tuple(stats),
        privacy=noted(site, again, charge.load),
    )


class _Charge:
    """What a round of this run costs an image."""

    def __init__(self, site: Site) -> None:
        config = site.config
        self.steps = config.plan(1, config.num_rounds).steps(1)
        self.rate = self.noise = None
        if config.dp == "client":
            self.multiplier = client_multiplier(config, config.num_rounds)
            self.load = load_of(self.multiplier, None, None)
            return
        step = step_multiplier(config, self.steps * config.num_rounds)
        self.noise = ImageNoise(step, config.dp_clip)
        if config.dp_sample_rate < 1:
            self.rate, self.multiplier = config.dp_sample_rate, step
        else:  # so many steps are one release of less noise, exactly
            self.multiplier = step / self.steps**0.5
        self.load: Load = load_of(self.multiplier, self.rate, self.steps if self.rate else None)


def _section(
    site: Site, section: str, asked: Asked, charge: _Charge
) -> tuple[Mapping[str, np.ndarray], bool]:
    """A section's update, and whether it was sent before.

    It comes through the ledger, which is charged before anything is trained; of secure sums it is
    charged when its masked numbers leave.
    """
    config, used = site.config, []
    method = site_method(config.method)
    whole = charge.noise is not None  # else the whole site is protected, not each image
    gathered = Gathering(sum(len(one.train) for one in site.sections()[section]))
    for one in distinct_images(site, section, used, held_out=whole):
        gathered.add(one)
    if not used:
        raise DataError(f"section '{section}' has no image that can be read")
    check_delta(config, len(used))
    x = method.model(site, section, asked)
    version = version_of(asked.bank)
    plan = config.plan(version + 1, config.num_rounds)
    recipe = (
        version,
        repr(plan),
        config.dp_clip,
        _digest(x),
        _digest(given_beside(section, asked)),
    )
    request = request_for(
        site,
        section,
        config.dp,
        charge.multiplier,
        used,
        asked.run,
        recipe,
        rate=charge.rate,
        steps=charge.steps if charge.rate else None,
    )

    def draw() -> Mapping[str, np.ndarray]:
        objective = method.objective(site, section, asked, gathered.done())
        how = Quiet(charge.noise)
        return trained(site, section, objective, x, asked, quiet=how)[1]

    if config.secure_sums:
        site.teach(section, used)
        return draw(), False
    released = release(site, request, draw)
    return released.arrays, released.again


def _digest(arrays: Arrays) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        one = np.ascontiguousarray(arrays[name])
        found.update(repr((name, one.dtype.str, one.shape)).encode())
        found.update(one.tobytes())
    return found.hexdigest()
