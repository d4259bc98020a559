"""Verdicts of the sites while a run goes on: before AUROC, whole on a narrow console, or absent."""

from __future__ import annotations

import json
import math
import re

import pytest

from fedpatchcore.cli.live import run_view
from fedpatchcore.config import RunConfig
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.metrics.verdicts import Verdict
from fedpatchcore.runs import events
from fedpatchcore.runs.telling import tell
from fedpatchcore.runs.watch import RunView
from fedpatchcore.server.runfolder import plain
from fedpatchcore.site.withholding import withheld
from fedpatchcore.wire.messages import EvaluateReply, ProductResult
from tests.support.events import ROUND_ONE, asked, evaluated, event, merged, site, trained
from tests.support.screens import screen

COUNTS = {"good": 40, "defective": 20, "calibrated": 24, "groups": 24, "threshold": 0.5}
COUNTS |= {"true_positives": 15, "false_negatives": 5}
COUNTS |= {"false_positives": 3, "true_negatives": 37, "image_auroc": 0.9}
REPLY = EvaluateReply(
    "north",
    (
        ProductResult("plate", **COUNTS),
        ProductResult("ring", **(COUNTS | {"true_positives": 20, "false_negatives": 0})),
        ProductResult("bolt", good=9, defective=9, image_auroc=0.8),  # no images to set one by
    ),
    2.0,
)
FOUND = {"plate": [15, 20], "ring": [20, 20]}
STOPPED = {"plate": [3, 40], "ring": [3, 40]}


def told(reply: EvaluateReply) -> dict:
    """The event of a reply as whoever follows a run reads it."""
    facts = plain(events.evaluated(reply))
    return events.from_line(events.to_line(event("evaluated", site=reply.site, round=1, **facts)))


def seen(*results: dict, sites: tuple[str, ...] = ("north", "south")) -> RunView:
    view = RunView()
    story = (ROUND_ONE[0], *map(site, sites), asked(1, *sites), *map(trained, sites), merged())
    for one in (*story, *results):
        view.take(one)
    return view


def test_a_site_counts_over_its_products_that_have_a_threshold() -> None:
    line = told(REPLY)
    assert (line["defects_found"], line["good_stopped"]) == (FOUND, STOPPED)
    view = seen(line)
    assert view.sites["north"].verdict == Verdict(Rate(35, 40), Rate(6, 80))
    assert view.sites["south"].verdict is None


def test_a_sentence_begins_with_the_verdicts() -> None:
    words = tell(told(REPLY))
    assert words == (
        "north: defects found 35 of 40 (88%, 75%–95%), good parts stopped 6 of 80 "
        "(7.5%, 3.3%–14%); image AUROC plate 0.900, ring 0.900, bolt 0.800"
    )
    good = evaluated("north", found={"plate": [0, 0]}, stopped={"plate": [1, 8]}, plate=None)
    assert tell(good).startswith("north: good parts stopped 1 of 8 (12%, ")


@pytest.mark.parametrize("share", [False, True])
def test_of_a_private_site_nothing_is_shown_that_it_withholds(share: bool) -> None:
    config = RunConfig(dp="cells", dp_share_metrics=share)
    line = told(withheld(REPLY, config))
    assert (line["defects_found"], line["good_stopped"]) == (
        (FOUND, STOPPED) if share else ({}, {})
    )
    shown = screen(run_view(seen(line))) + tell(line)
    assert ("defects" in shown) is ("35 of 40" in shown) is share
    assert not re.search(r"nan|None|\b0 of|\b0 images", shown)
    assert "image AUROC plate 0.900, ring 0.900, bolt 0.800" in shown


OLD = evaluated("north", plate=0.9)


@pytest.mark.parametrize(
    "line",
    [
        OLD,
        OLD | {"defects_found": None},
        OLD | {"defects_found": {"plate": [1]}, "good_stopped": {"plate": [1.5, None]}},
        OLD | {"defects_found": [[1, 2]], "good_stopped": {"plate": "8"}},
    ],
)
def test_logs_without_verdicts_are_read_as_before(line: dict) -> None:
    view = seen(line)
    assert view.sites["north"].verdict is None and view.sites["north"].image_auroc == 0.9
    assert tell(line) == "north: image AUROC plate 0.900 (alone 0.500)"
    shown = screen(run_view(view))
    assert "0.900" in shown and "AUROC" in shown and "found" not in shown


def test_the_last_evaluation_counts_even_if_it_has_no_verdict() -> None:
    first = evaluated("north", found={"plate": [7, 8]}, stopped={"plate": [0, 8]}, plate=0.9)
    later = evaluated("north", 2, found={"plate": [6, 8]}, stopped={"plate": [1, 8]}, plate=0.9)
    assert seen(first, later).sites["north"].verdict == Verdict(Rate(6, 8), Rate(1, 8))
    none = evaluated("north", 2, found={}, stopped={}, plate=0.9)
    assert seen(first, none).sites["north"].verdict is None


LARGE = {"represented": 12_345, "images": 12_345, "patches": 9_876_543, "rows": 10_000}
LARGE |= {"bytes": 1_234_560_000, "extract_seconds": 12_345.6}
NAMES = ("hamburg-2", "plant-b")
RESULTS = (
    evaluated("hamburg-2", found={"x": [1234, 1300]}, stopped={"x": [1, 1300]}, x=0.987),
    evaluated("plant-b", found={"x": [7, 8]}, stopped={"x": [0, 8]}, x=0.75),
)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_figure_is_cut_on_a_narrow_console(width: int) -> None:
    reason = "its ClientApp process died (killed, or out of memory)"
    lost = event("lost", 5, round=1, site="plant-c", reason=reason)
    view = seen(trained("hamburg-2", **LARGE), *RESULTS, site("plant-c"), lost, sites=NAMES)
    view.take(trained("plant-b", held_out=4))
    lines = screen(run_view(view), width).splitlines()
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)
    told = {line.split()[0]: line for line in lines if line.strip()}
    assert re.search(r"done .*1,234 of 1,300  +1 of 1,300  +0\.987", told["hamburg-2"])
    assert re.search(r"7 of 8  +0 of 8  +0\.750", told["plant-b"])
    head = next(line for line in lines if line.startswith("site "))
    assert re.search(r"found +stopped +AUROC", head)
    left = re.search(r"\(no room for (.*)\)", " ".join(lines))
    shown = {"taught", "patches", "rows", "seconds", "MB", "images"} & set(head.split())
    hidden = set(left[1].split(", ")) if left else set()
    assert shown | hidden == {"taught", "patches", "rows", "seconds", "MB", "images"}
    assert not shown & hidden and (width > 80 or hidden)
    assert ("seconds" in shown) is ("12348.6" in told["hamburg-2"])
    assert reason.split()[-1] in " ".join(lines) and "LOST: its ClientApp" in told["plant-c"]


def test_what_no_site_has_takes_no_column() -> None:
    def head(view: RunView) -> list[str]:
        lines = screen(run_view(view)).splitlines()
        return next(line for line in lines if line.startswith("site ")).split()

    view = RunView()
    for one in ROUND_ONE:
        view.take(one)
    assert head(view) == ["site", "state", "images"]
    view = seen()
    assert head(view) == ["site", "state", "images", "patches", "rows", "MB", "seconds"]
    view.take(trained("north", represented=32, held_out=4, epsilon=2.0))
    assert head(view)[2:4] == ["images", "taught"] and head(view)[-1] == "ε"
    nothing = evaluated("north", found={"x": [0, 0]}, stopped={"x": [0, 0]}, x=None)
    assert head(seen(nothing))[-1] == "seconds"


def test_an_event_without_a_threshold_is_plain_json() -> None:
    line = told(EvaluateReply("north", (ProductResult("plate", threshold=math.nan),)))
    assert line["defects_found"] == {} and json.loads(json.dumps(line)) == line
