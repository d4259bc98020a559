"""One section of the bank from the sites' parts of it, by the aggregation in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpatchcore.aggregation import AGGREGATIONS, Donor, Settings
from fedpatchcore.bank import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.contribution import Part
from fedpatchcore.errors import CoresetError

__all__ = ["merge_section"]


def merge_section(
    parts: Mapping[str, Part],
    sites: tuple[str, ...],
    images: Mapping[str, int],
    config: RunConfig,
    *,
    device: str,
) -> tuple[Section, dict[str, Any]]:
    """The bank's section and the facts that the round's record shows.

    Args:
        parts: what each site gave, by site.
        sites: all sites of the bank; a row's origin is a position in it.
        images: training images that the bank represents, by site.

    Raises:
        CoresetError: nothing can be made of these parts; the reason is in the text.
    """
    if not parts:
        raise CoresetError("every site that makes it is excluded")
    merged = AGGREGATIONS[config.effective_aggregation](
        [Donor(site, part.features, part.images) for site, part in parts.items()],
        Settings(
            config.global_bank_size,
            config.weighted_by_samples,
            config.seed,
            device,
            config.tolerated_sites,
            config.single_source,
        ),
    )
    place = [sites.index(site) for site in parts] + [-1]
    origin = np.array([place[at] for at in merged.origin], dtype=np.int32)
    section = Section(
        merged.features,
        origin,
        merged.radius,
        max(merged.radius, float(np.median([part.radius for part in parts.values()]))),
        {site: n for site, n in images.items() if n},
        merged.flagged,
    )
    return section, {
        "rows": len(section),
        "radius": section.radius,
        "flagged": merged.flagged,
        "rejected_rows": merged.rejected,
        "offered_rows": sum(len(part.features) for part in parts.values()),
        "sites": list(parts),
    }
