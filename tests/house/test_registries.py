"""What stands in a registry can be loaded, and the pages that list its kind know it."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from fedpatchcore.aggregation.registry import AGGREGATIONS
from fedpatchcore.data.layouts.registry import LAYOUTS
from fedpatchcore.features.backbones.registry import FAMILIES, family_of
from fedpatchcore.privacy.registry import MECHANISMS, Mechanism, examples
from fedpatchcore.privacy.sums import ImageSums
from fedpatchcore.report.registry import SECTIONS
from fedpatchcore.spelling import typed
from tests.support.codebooks import BOOK
from tests.support.places import ROOT

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_an_aggregation_is_there_and_in_the_readme(name: str) -> None:
    module = import_module(f"fedpatchcore.aggregation.{name}")
    assert callable(getattr(module, name))
    assert f"| `{name}` |" in README


@pytest.mark.parametrize("one", MECHANISMS.values(), ids=lambda one: one.name)
def test_a_mechanism_is_there_and_in_its_page(one: Mechanism) -> None:
    for page in (README, (ROOT / "docs/privacy.md").read_text()):
        assert re.search(rf'`{one.name}`|dp ?= ?"{one.name}"', page)
    assert one.explained.endswith(".")
    if one.sums:
        assert issubclass(one.load(), ImageSums)
        assert one.worst_image(BOOK, 4).shape[1] == len(BOOK.centre)
    if one.per_image:
        assert typed("dp", one.name) in examples()


def test_a_mechanism_of_sums_without_its_worst_image_is_refused() -> None:
    with pytest.raises(ValueError, match="worst image"):
        Mechanism("half", "It adds up.", sums="cells:CellSums", bank="half_sums")


@pytest.mark.parametrize("one", LAYOUTS.values(), ids=lambda one: one.name)
def test_a_layout_is_there_and_in_the_readme(one) -> None:
    module = import_module(f"fedpatchcore.data.layouts.{one.name}")
    assert callable(module.fits) and callable(module.read)
    assert f"| `{one.name}` |" in README


@pytest.mark.parametrize("one", FAMILIES, ids=lambda one: one.module)
def test_a_family_of_backbones_is_there_and_in_the_readme(one) -> None:
    module = import_module(f"fedpatchcore.features.backbones.{one.module}")
    assert callable(module.load)
    assert not one.needs_weights or callable(module.check)
    assert not one.name or any(f"`{name}`" in README for name in one.known or (one.name,))
    assert family_of(one.name or "resnet18") is one
    assert family_of(f"{one.name}/x" if one.name else "x/y") is one


def test_names_lead_to_their_family_whatever_stands_first() -> None:
    assert FAMILIES[-1].name == ""  # the family of all other names is asked last
    assert len({one.name for one in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("view", SECTIONS, ids=lambda view: view.__name__)
def test_a_section_of_the_report_has_its_view_in_a_file_of_its_own(view) -> None:
    module = import_module(view.__module__)
    assert view.__module__.startswith("fedpatchcore.report.views.")
    assert view.__name__ in module.__all__ and view.__doc__
