"""Pictures of single images, by what they show."""

from __future__ import annotations

from dataclasses import dataclass

from fedpatchcore.report.model import Section
from fedpatchcore.report.pictures import Picture, Pictures
from fedpatchcore.report.story import Story

__all__ = ["Cases", "cases", "elsewhere"]

KIND_TITLES = {
    "best": ("Clearest detections", "the defects with the highest scores"),
    "worst": ("Largest errors", "missed defects and false alarms; if none, the closest calls"),
    "median": ("Typical", "the defect and the good image in the middle of their class"),
}


@dataclass(frozen=True)
class Case:
    """A picture within the page; ``wide`` ones need a line of their own."""

    site: str
    image: str
    source: str
    wide: bool


@dataclass(frozen=True)
class Group:
    """Pictures of one kind; ``more`` lie beside the page."""

    name: str
    meaning: str
    more: int
    cases: list[Case]


@dataclass(frozen=True)
class Cases:
    """All pictures of a product."""

    groups: list[Group]


@dataclass(frozen=True)
class Elsewhere:
    """Where each site finds its own pictures, below its results folder.

    Attributes:
        summed: they are not shown for no site's own figures are.
        virtual: that folder is within the run's.
    """

    place: str
    summed: bool
    virtual: bool


def cases(pictures: Pictures, product: str) -> Cases | None:
    """A product's pictures; None where the sites keep theirs."""
    if not pictures:
        return None
    groups = []
    for kind, (name, meaning) in KIND_TITLES.items():
        here, more = pictures.of(product, kind)
        if drawn := [case for case in map(_case, here) if case]:
            groups.append(Group(name, meaning, more, drawn))
    return Cases(groups)


def _case(picture: Picture) -> Case | None:
    """None if the picture cannot be decoded."""
    try:
        source, wide = picture.data_uri()
    except OSError:
        return None
    return Case(picture.site, picture.image, source, wide)


def elsewhere(story: Story) -> list[Section]:
    """Where the pictures are when they are not here."""
    if story.pictures:
        return []
    view = Elsewhere(f"{story.name}/heatmaps", story.summed, story.virtual)
    return [Section("Pictures", "pictures", "elsewhere.html.j2", view)]
