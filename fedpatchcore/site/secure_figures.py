"""A site's figures of test images, added to those of the others under masks.

An evaluate message makes the site judge as ever; what it found stays in its own results and, as
whole numbers (`fedpatchcore.metrics.totals`), beside its ledger until the sum asks for them. Its
answer says which products it judged, and nothing else.

A sum that a single site gave to would be that site's figures. So each site signs with its keys
which products it adds to, and refuses a sum in which a product has fewer than two sites that are
not in league with the server: once all sites are known, and again among those that are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpatchcore.errors import SecureSumError
from fedpatchcore.metrics.totals import length, numbers_of
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.site.keeping import Kept
from fedpatchcore.site.secure import Adds
from fedpatchcore.site.withholding import withheld
from fedpatchcore.wire.basis import over
from fedpatchcore.wire.messages import EvaluateReply, ProductResult
from fedpatchcore.wire.sums import FIGURES, Layout, SumsQuestion, few_makers

if TYPE_CHECKING:
    from fedpatchcore.site.measuring import Scored
    from fedpatchcore.site.site import Site

__all__ = ["adds", "keep_figures"]


def keep_figures(
    site: Site,
    reply: EvaluateReply,
    scored: Mapping[str, Scored],
    *,
    run: str,
    number: int,
    basis: str,
) -> EvaluateReply:
    """Keep a site's figures for the round's sum; what may leave of its reply.

    Args:
        basis: what they were made from (`fedpatchcore.wire.basis`).

    Raises SecureSumError if they cannot be kept.
    """
    told = withheld(reply, site.config) if site.config.dp != "off" else reply
    kept, named = {}, []
    for result in told.results:
        if result.product in scored:
            kept[str(len(named))] = _numbers(result, scored[result.product]).astype(np.int64)
            named.append(result.product)
    if kept:
        about = {"products": named, "basis": basis}
        Kept(site.policy.sums_folder, run, number, "figures").put(about, kept)
    blank = tuple(
        ProductResult(r.product, coverage=(0,) * len(r.coverage))
        for r in reply.results
        if r.product in named
    )
    return replace(reply, results=blank, seconds=0.0, memory=(0, 0))


def _numbers(result: ProductResult, scored: Scored) -> np.ndarray:
    labels = np.array([one.anomalous for one in scored.images], dtype=bool)
    return numbers_of(asdict(result), scored.scores, labels, cells=len(CELLS))


def adds(site: Site, question: SumsQuestion, kept: Kept, run: str, *, begun: bool) -> Adds:
    """What the site adds. Raises SecureSumError."""
    config, layout = site.config, question.layout
    if not config.secure_figures:
        raise SecureSumError(
            "figures are asked for under masks in a run that does not say secure-figures"
        )

    def fits(claims: Mapping[str, bytes]) -> str:
        return few_makers(layout, claims, config.colluding_sites)

    if begun:
        return Adds(lambda mask, _: _masked(layout, kept, mask), fits=fits)
    about = kept.numbers()[0]
    _check(about, layout)
    own = set(about["products"])
    told = np.packbits([place.section in own for place in layout]).tobytes()
    return Adds(lambda mask, _: _masked(layout, kept, mask), claim=told, fits=fits)


def _check(told: Mapping[str, Any], layout: Layout) -> None:
    """Raise SecureSumError unless the sum is of what this site's figures were made from."""
    asked = over(FIGURES, told["basis"]), 1, length(len(CELLS))
    if any((place.codebook, place.rows, place.columns) != asked for place in layout):
        raise SecureSumError(
            "the server asks for figures by another bank, by other settings, or of another "
            "version, than this site has judged by: nothing is added"
        )


def _masked(layout: Layout, kept: Kept, mask: np.ndarray) -> np.ndarray:
    told, arrays = kept.numbers()
    _check(told, layout)
    at = {product: str(n) for n, product in enumerate(told["products"])}
    parts = [
        arrays[at[place.section]] if place.section in at else np.zeros(place.size, np.int64)
        for place in layout
    ]
    return np.concatenate(parts).view(np.uint64) + mask
