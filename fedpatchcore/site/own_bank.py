"""The site's own bank as a file beside its results, to judge by it and the global bank together.

Written where the two differ in kind: beside a private bank, or one that is scored by vote. It holds
features of the site's images as they are and never leaves the site by itself.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED, Section
from fedpatchcore.errors import BankError

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site
    from fedpatchcore.wire.messages import EvaluateReply

__all__ = ["FILE", "keep_own_bank"]

FILE = "own.safetensors"


def keep_own_bank(site: Site, bank: MemoryBank, reply: EvaluateReply, folder: Path) -> None:
    """Write `FILE` into a folder, with the hybrid's scales and threshold by product.

    Nothing is written without a hybrid; a folder that cannot be written is said.
    """
    if not site.hybrids:
        return
    sections, hybrid, thresholds = {}, {}, {}
    figures = {result.product: result for result in reply.results}
    for product, found in site.hybrids.items():
        name = SHARED if SHARED in bank.sections else product
        rows = site.own_rows(name)
        if site.normals[product].folds:  # as it was calibrated
            rows = rows[: len(bank.sections[name])]
        images = {site.name: len(site.training_images(name).used)}
        sections[name] = Section(rows, np.zeros(len(rows), np.int32), 0.0, 0.0, images)
        hybrid[product] = found.told(bank.sections[name])
        limit = figures[product].local_threshold
        thresholds[product] = {} if math.isnan(limit) else {site.name: limit}
    own = MemoryBank(
        bank.fingerprint,
        sections,
        (site.name,),
        bank.round,
        scoring=site.config.own_scoring,
        thresholds=thresholds,
        hybrid=hybrid,
    )
    try:
        own.save(folder / FILE)
    except BankError as error:
        site.say(f"the site's own bank was not kept: {error}")
        return
    for product, found in site.hybrids.items():
        site.say_own(
            f"{product}: own bank and global bank together: threshold {found.threshold:.4g} "
            f"(fedpatchcore predict BANK IMAGES --local {folder / FILE})"
        )
