"""How much of their pictures a crop shows, site by site."""

from __future__ import annotations

from dataclasses import dataclass

from fedpatchcore.report.model import Section, Table, row, table
from fedpatchcore.report.story import MANY_SITES, Story
from fedpatchcore.report.words import percent

__all__ = ["Seen", "seen"]


@dataclass(frozen=True)
class Seen:
    """The least share, whose it is, and the table."""

    site: str
    section: str
    least: str
    table: Table


def seen(story: Story) -> list[Section]:
    """Nothing where all of every picture is seen, or where no site tells."""
    shares: dict[tuple[str, str], float] = {}
    for record in story.rounds:
        for site, told in (record.get("train") or {}).items():
            for one in told.get("sections") or ():
                if 0 < (one.get("seen") or 0) <= 1:
                    shares[one["section"], site] = one["seen"]
    if not any(share < 1 for share in shares.values()):
        return []
    order = sorted(shares.items(), key=lambda item: (item[1], item[0]))
    rows = [row(section, site, percent(share)) for (section, site), share in order]
    (section, site), least = order[0]
    fold = f"all {len(rows)} of them" if len(rows) > MANY_SITES else ""
    view = Seen(
        site, section, percent(least), table(("product", "site", "seen"), rows, left=2, fold=fold)
    )
    return [Section("What is seen of the pictures", "seen", "seen.html.j2", view)]
