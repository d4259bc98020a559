"""Who may take part: one node a site name, versions that fit, one feature extractor for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fedpatchcore.errors import FingerprintError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.runs.telling import listed, outlook
from fedpatchcore.server.settings import FederationSettings
from fedpatchcore.texts import counted, one_line
from fedpatchcore.version import VERSION, differ, refusal
from fedpatchcore.wire.bounds import SECTIONS
from fedpatchcore.wire.messages import SiteFacts

__all__ = ["call_roll", "introduction", "too_few"]


def call_roll(
    answers: Mapping[str, SiteFacts],
    agreed: Fingerprint | None,
    most: int = SECTIONS,
    *,
    tolerated: int = 0,
) -> tuple[dict[str, str], Fingerprint | None]:
    """Judge what each node said of itself.

    Args:
        answers: node id → facts.
        agreed: the federation's fingerprint so far; None lets the sites agree by majority, and
            a tie refuses all.
        most: products that a site may name (``max-products``).
        tolerated: faulty sites; with any, one more must agree before the federation has a
            fingerprint, or the first that answers would turn all others away.

    Returns:
        ``{node id: reason}`` of the refused nodes, and the fingerprint in force.
    """
    refused = _misfits(answers) | _crowded(answers, most) | _namesakes(answers)
    prints: dict[str, Fingerprint] = {}
    for node, facts in answers.items():
        if node not in refused:
            try:
                prints[node] = Fingerprint.from_json(facts.fingerprint)
            except FingerprintError as error:
                refused[node] = one_line(error)
    if agreed is None and prints:
        votes = Counter(p.digest for p in prints.values()).most_common()
        if len(votes) > 1 and votes[0][1] == votes[1][1]:
            return refused | dict.fromkeys(prints, _tie(prints, votes)), None
        if votes[0][1] <= tolerated:
            return refused | dict.fromkeys(prints, _unconfirmed(votes[0][1], tolerated)), None
        agreed = next(p for p in prints.values() if p.digest == votes[0][0])
    for node, fingerprint in prints.items():
        site = f"site '{answers[node].site}'"
        try:
            agreed.require(fingerprint, ours="the federation", theirs=site)
        except FingerprintError as error:
            refused[node] = one_line(error)
    return refused, agreed


def introduction(facts: SiteFacts) -> tuple[str, dict[str, Any]]:
    """What is told of a site that takes part: a line of the log, and the facts of its event."""
    images, made = sum(facts.train_images), listed(facts.products)
    note = ""
    if differ(facts.version):
        note = f"FedPatchCore {facts.version} there, {VERSION} at the server"
    told = counted(images, "image") if images else "number of images withheld"
    event = {"site": facts.site, "products": facts.products, "images": images}
    event |= {"device": facts.device, "version": facts.version, "note": note}
    event |= {"image_seconds": facts.seconds, "features": facts.features, "held": facts.held}
    event |= {"shown": facts.shown}
    work = outlook(event)
    head = f"site {facts.site}: {made} ({told}) on {facts.device}"
    return head + (f"; {work}" if work else ""), event


def too_few(online: int, config: FederationSettings) -> str:
    """What ends the wait for sites."""
    return (
        f"{online} of {config.min_sites} sites online after {config.wait_seconds:g} s: start the "
        "missing SuperNodes ('flower-supernode ...'), or lower min-sites, or raise wait-seconds"
    )


def _misfits(answers: Mapping[str, SiteFacts]) -> dict[str, str]:
    """Nodes whose installed library is of another minor version."""
    told = {node: refusal(facts.version) for node, facts in answers.items()}
    return {node: reason for node, reason in told.items() if reason}


def _crowded(answers: Mapping[str, SiteFacts], most: int = SECTIONS) -> dict[str, str]:
    """Nodes that name more products than the run takes from one site."""
    return {
        node: f"{len(facts.products):,} products, max-products is {most:,}"
        for node, facts in answers.items()
        if len(facts.products) > most
    }


def _namesakes(answers: Mapping[str, SiteFacts]) -> dict[str, str]:
    """Nodes that share a site name: nobody can tell which is right, so none of them."""
    names = Counter(facts.site for facts in answers.values())
    return {
        node: f"{names[facts.site]} nodes call themselves '{facts.site}': "
        "give each its own site='...' in --node-config, or register their keys by name"
        for node, facts in answers.items()
        if names[facts.site] > 1
    }


def _unconfirmed(agree: int, tolerated: int) -> str:
    return (
        f"{agree} site(s) agree on the backbone, and tolerated-sites={tolerated} takes "
        f"{tolerated + 1} before the federation rests on it: let more sites answer the roll call"
    )


def _tie(prints: Mapping[str, Fingerprint], votes: list[tuple[str, int]]) -> str:
    first, second = (
        next(p for p in prints.values() if p.digest == digest) for digest, _ in votes[:2]
    )
    return (
        "sites disagree on the backbone and no side has a majority "
        f"({'; '.join(first.differences(second))}): use the same weights file everywhere"
    )
