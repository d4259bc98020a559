"""The sections of the report, in their order.

A further one is a view in ``views/``, a template in ``templates/`` and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fedpatchcore.report.model import Section
from fedpatchcore.report.story import Story
from fedpatchcore.report.views.bank import bank
from fedpatchcore.report.views.cases import elsewhere
from fedpatchcore.report.views.configuration import configuration
from fedpatchcore.report.views.coverage import coverage
from fedpatchcore.report.views.fairness import fairness_view
from fedpatchcore.report.views.glance import glance
from fedpatchcore.report.views.privacy import privacy
from fedpatchcore.report.views.products import products
from fedpatchcore.report.views.seen import seen
from fedpatchcore.report.views.traffic import traffic
from fedpatchcore.report.views.training import training
from fedpatchcore.report.views.turns import turns

__all__ = ["SECTIONS"]

SECTIONS: tuple[Callable[[Story], Iterable[Section]], ...] = (
    glance,
    fairness_view,
    products,
    elsewhere,
    seen,
    training,
    turns,
    coverage,
    bank,
    traffic,
    privacy,
    configuration,
)
