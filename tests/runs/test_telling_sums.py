"""How secure sums are told: in the log, live, by whoever reads the events."""

from __future__ import annotations

import pytest

from fedpatchcore.runs.telling import tell

EVENT = {
    "time": "2026-01-01T00:00:00.000+00:00",
    "event": "summed",
    "round": 1,
    "about": "sums",
    "asked": ["a", "b", "c", "d", "e"],
    "masked": ["a", "b", "c", "d"],
    "opened": ["a", "b", "d"],
    "openers": 3,
    "colluding": 1,
    "left": {"e": "answered nothing"},
    "bytes": 1000,
    "seconds": 2.0,
    "closed": "",
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "secure sum of 4 sites opened by 3, 3 must, 1 dropped"),
        ({"masked": ["a", "b", "c", "d", "e"]}, "secure sum of 5 sites opened by 3, 3 must"),
        ({"about": "updates"}, "secure sum of updates of 4 sites opened by 3, 3 must, 1 dropped"),
        (
            {"about": "figures", "image_auroc": {"plate": 0.9}},
            "secure sum of figures of 4 sites opened by 3, 3 must, 1 dropped; mean image AUROC "
            "plate 0.900",
        ),
        (
            {"opened": [], "closed": "2 opened, 3 must open it"},
            "the secure sum STAYS CLOSED: 2 opened, 3 must open it",
        ),
    ],
)
def test_who_masked_dropped_and_opened_is_told(changed: dict, words: str) -> None:
    assert words in tell({**EVENT, **changed})
