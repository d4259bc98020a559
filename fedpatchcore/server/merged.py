"""All sections of a round's bank, from what the sites gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpatchcore.bank.section import Section
from fedpatchcore.errors import CoresetError
from fedpatchcore.server.judge import judge
from fedpatchcore.server.merging import section_line
from fedpatchcore.server.methods.registry import Givers

if TYPE_CHECKING:
    from fedpatchcore.server.federation import Federation

__all__ = ["merged_sections"]


def merged_sections(of: Federation, sites: tuple[str, ...], number: int) -> dict[str, Section]:
    """The sections of round ``number``; one that cannot be made is left out by name."""
    sections = _private_sections(of)
    excluded = _outliers(of)
    for name in of.contributions.sections:
        try:
            sections[name] = _section(of, name, sites, excluded, number)
        except CoresetError as error:
            of.story.left_out(name, error)
    return sections


def _private_sections(of: Federation) -> dict[str, Section]:
    if of.private is None or of.config.dp_combine != "sum":
        return {}
    sections = {}
    for name, (section, facts) in of.private.sections().items():
        sections[name] = section
        of.story.merged(name, facts, section_line(name, facts))
    return sections


def _outliers(of: Federation) -> set[str]:
    """Sites that robustness leaves out of this round's bank; all findings are in the record."""
    if not of.config.robustness_enabled:
        return set()
    moves = of.method.moves(of.story.present) if of.config.kind.learned else None
    found = judge(of.contributions, of.config, moves)
    of.story.outliers(found)
    return found.excluded


def _section(
    of: Federation, name: str, sites: tuple[str, ...], excluded: set[str], number: int
) -> Section:
    parts = {
        site: given.parts[name]
        for site, given in of.contributions.items()
        if name in given.parts and site not in excluded
    }
    images = {s: of.represented.get(s, {}).get(name, 0) for s in sites}
    givers = Givers(sites, images, of.story.present - excluded, of.bank, number)
    section, facts = of.method.section(name, parts, givers)
    of.story.merged(name, facts, section_line(name, facts))
    return section
