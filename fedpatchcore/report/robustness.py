"""What the report tells of sites that stand out, and of a bank that is scored by vote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedpatchcore.report.markup import Html, amount, element, folded, join, percent, table
from fedpatchcore.report.story import MANY_SITES, Story

__all__ = ["left_out", "robustness"]


HOME = (
    "A site that judges trusts its own rows, which nobody else can touch, and asks one more of the "
    "others; the sites' figures here are scored so. The bank holds two thresholds of each site: "
    "for the site itself, and for whoever judges by vote alone."
)


def robustness(story: Story) -> Html:
    """How the bank's votes are counted, and how far each site lay from the others."""
    parts = [_votes(story), _density(story)]
    records = [r for r in story.rounds if r.get("site_scores") or r.get("outliers")]
    if records:
        parts += _scores(records[-1], story)
    elif story.config.get("robustness-enabled"):
        parts.append(element("p", "Sites were not compared: no section was made at three of them."))
    if not any(parts):
        return Html()
    return join([element("h3", "Robustness"), *parts])


def left_out(record: Mapping[str, Any], config: Mapping[str, Any]) -> set[str]:
    """Outliers of a round that gave no row to its bank."""
    if config.get("on-outlier") != "exclude":
        return set()
    sections = (record.get("sections") or {}).values()
    givers = {site for facts in sections for site in facts.get("sites") or ()}
    return set(record.get("outliers") or {}) - givers


def _votes(story: Story) -> Html:
    votes = story.header["scoring"].get("votes", 1)
    if votes < 2:
        return Html()
    nth = {2: "second", 3: "third"}.get(votes, f"{votes}-th")
    told = (
        f"Scored by vote: the distance of a patch is the {nth} smallest of its distances to each "
        f"site's own rows, so a low score takes {votes} sites that know such a patch (all of them, "
        f"if fewer make the product). {amount(votes - 1, 'faulty site')} among them can neither "
        "make a defect look normal that no honest site has seen, nor make a patch look strange "
        "that enough honest sites know. The price: what is normal at fewer sites looks strange. "
        + (HOME if story.header["scoring"].get("home") else "Hybrid scoring mends that at a site.")
    )
    return element("p", told)


def _density(story: Story) -> Html:
    share = story.config.get("density-filter")
    if not share:
        return Html()
    told = f"Each site left out the loneliest {percent(share, 1)} of its patches before selection."
    return element("p", told)


def _scores(record: Mapping[str, Any], story: Story) -> list[Html]:
    scores: Mapping[str, Mapping[str, float]] = record.get("site_scores") or {}
    reasons: Mapping[str, str] = record.get("outliers") or {}
    limit = float(story.config.get("zscore-threshold") or 3.5)
    gone = left_out(record, story.config)
    sites = sorted({*reasons, *(site for own in scores.values() for site in own)})
    rows = [
        (
            "",
            [
                site,
                *(_score(own.get(site), limit) for own in scores.values()),
                _verdict(site, reasons, gone),
            ],
        )
        for site in sites
    ]
    content = table(["modified z-score of", *scores, "verdict"], rows)
    if len(rows) > MANY_SITES:
        content = folded(f"all {len(rows)} sites", content)
    found = [element("li", element("b", s), f": {reason}") for s, reason in sorted(reasons.items())]
    action = (
        "the worst are left out, at most tolerated-sites and always fewer than half of a section"
        if story.config.get("on-outlier") == "exclude"
        else "on-outlier='warn' says so and admits it"
    )
    note = (
        f"Round {record.get('round')}: how far a site's rows lie from those of the other sites, in "
        f"median absolute deviations from the median site. Beyond {limit:g} a site stands out: "
        f"{action}. Sections made at fewer than three sites have no majority and are not compared. "
        "Gross errors show here; smuggled rows among good ones, and copies of another site, do not."
    )
    return [content, element("ul", *found) if found else Html(), element("p", note, class_="note")]


def _score(score: float | None, limit: float) -> Html | str:
    if score is None:
        return "–"
    return element("span", f"{score:.1f}", class_="down" if score > limit else "")


def _verdict(site: str, reasons: Mapping[str, str], gone: set[str]) -> str:
    if site not in reasons:
        return "like the others"
    return "left out" if site in gone else "stands out"
