"""A run seen from outside: events in, plain words out. No process, no console."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from rich.console import Console

from fedpatchcore.cli.live import Follower, run_view
from fedpatchcore.cli.results import result_table
from fedpatchcore.runs.events import to_line
from fedpatchcore.runs.telling import hint, tell
from fedpatchcore.runs.watch import RunView
from tests.support.events import (
    ROUND_ONE,
    START,
    asked,
    evaluated,
    event,
    finished,
    merged,
    site,
    trained,
)
from tests.support.screens import screen


def after(*events: dict, expected: int = 0) -> RunView:
    view = RunView(expected=expected)
    for one in events:
        view.take(one)
    return view


def states(view: RunView) -> dict[str, str]:
    return {name: told.state for name, told in view.sites.items()}


def test_what_the_work_takes_is_said_until_somebody_has_done_it() -> None:
    eyes = {"image_seconds": 0.5, "features": 3 * 10**9, "held": 2 * 10**9, "shown": 0.31}
    view = after(
        {**site("north"), **eyes}, {**site("south"), **eyes, "image_seconds": 2, "held": 9}
    )
    assert view.outlook() == (
        "features are thought to take 80 s at south, the slowest site, and 2 GB of memory at north"
    )
    assert view.notes() == [
        "north: geometry='crop' shows 31% of the pictures' area; geometry='whole' shows all"
    ]
    shown = screen(run_view(view), width=120)
    assert "thought to take 80 s at south" in shown and "shows 31%" in shown
    line = tell({**site("north"), **eyes})
    assert "about 0.5 s an image, 40 images: 20 s; features 3 GB, of which 2 GB at a time" in line
    view.take(asked(1, "north", "south"))
    assert view.outlook()
    view.take(trained("north"))
    assert not view.outlook() and "thought" not in screen(run_view(view), width=120)
    assert after(site("north")).outlook() == "" and "about" not in tell(site("north"))


def test_states_follow_a_site_through_a_round() -> None:
    view = after(*ROUND_ONE)
    assert states(view) == {"north": "waiting", "south": "waiting"}
    assert view.headline() == "calling the roll: 2 sites so far"
    view.take(asked(1, "north", "south"))
    assert states(view) == {"north": "extracting", "south": "extracting"}
    view.take(trained("north"))
    assert states(view) == {"north": "sent", "south": "extracting"}
    assert view.headline() == "round 1 of 2: 1 of 2 sites answered"
    view.take(trained("south", kind="none", rows=0, bytes=0))
    assert states(view)["south"] == "nothing new"
    view.take(merged())
    assert states(view) == {"north": "evaluating", "south": "evaluating"}
    assert "bank of 1,000 rows, 0 of 2 sites" in view.headline()
    view.take(evaluated("north", plate=0.9))
    assert states(view) == {"north": "done", "south": "evaluating"}
    view.take(evaluated("south", plate=0.8))
    view.take(event("checkpoint", 21, round=1, seconds=0.1))
    assert view.headline() == "round 1 of 2: complete"


def test_figures_add_up_over_rounds() -> None:
    view = after(*ROUND_ONE, asked(1, "north", "south"), trained("north"))
    view.take(evaluated("north", plate=0.9, ring=0.7, bolt=None))
    view.take(trained("north", 2, "delta", rows=20, patches=100, represented=40, bytes=500_000))
    north = view.sites["north"]
    assert (north.images, north.taught, north.patches, north.rows) == (40, 40, 9100, 520)
    assert north.megabytes == 2.5
    assert north.seconds == 10.0
    assert north.image_auroc == pytest.approx(0.8)
    assert north.epsilon is None
    view.take(trained("north", 3, "full", rows=600, patches=9500, epsilon=1.5))
    assert (north.rows, north.patches, north.megabytes, north.epsilon) == (600, 9500, 4.5, 1.5)


def test_what_a_private_site_withholds_is_unknown_not_zero() -> None:
    nothing = dict.fromkeys(("images", "represented", "patches", "rows"), 0)
    nothing |= dict.fromkeys(("extract_seconds", "select_seconds"), 0.0)
    sums = trained("north", kind="sums", epsilon=1.25, **nothing)
    view = after(ROUND_ONE[0], site("north", 0), sums)
    north = view.sites["north"]
    assert (north.images, north.patches, north.rows, north.seconds) == (None,) * 4
    assert (north.epsilon, north.megabytes) == (1.25, 2.0)
    assert states(view) == {"north": "sent"}
    assert tell(sums) == "north: sent noisy sums, 2.00 MB, ε spent 1.25 (counts withheld)"
    assert tell(site("north", 0)) == "north: here, plate on cpu"
    noised = trained("north", kind="full", epsilon=9.0)
    assert "500 noised rows" in tell(noised)


def test_a_log_read_twice_gives_the_same_view() -> None:
    story = [*ROUND_ONE, asked(1, "north", "south"), trained("north"), trained("south"), merged()]
    story += [evaluated("north", plate=0.9), evaluated("south", plate=0.8), finished()]
    once, twice = after(*story), after(*story, *story)
    assert screen(run_view(once)) == screen(run_view(twice))


def test_the_images_of_a_site_stay_as_many_when_it_answers() -> None:
    """Held-out and unreadable ones are images too; they do not teach."""
    view = after(*ROUND_ONE, asked(1, "north"))
    before = view.sites["north"].images
    view.take(trained("north", represented=35, held_out=4, bad=1))
    assert (before, view.sites["north"].images, view.sites["north"].taught) == (40, 40, 35)
    line = next(line for line in screen(run_view(view)).splitlines() if "north" in line)
    assert [word for word in line.split() if word.isdigit()][:2] == ["40", "35"]


def test_before_the_first_reply_only_what_was_told_is_shown() -> None:
    south = after(*ROUND_ONE).sites["south"]
    assert south.images == 40
    assert (south.taught, south.patches, south.rows, south.megabytes, south.seconds) == (None,) * 5
    assert south.image_auroc is None


@pytest.mark.parametrize("what", ["lost", "rejected"])
def test_a_site_that_drops_out_shows_why(what: str) -> None:
    reason = "its SuperNode is offline"
    gone = event(what, 5, round=1, site="south", reason=reason)
    view = after(*ROUND_ONE, asked(1, "north", "south"), trained("north"), gone, merged())
    assert states(view) == {"north": "evaluating", "south": f"{what.upper()}: {reason}"}
    assert "1 lost or rejected" in view.headline()
    assert view.notes() == ["south: start its flower-supernode again; it joins the next round"]
    assert what.upper() in tell(gone)
    assert "start its flower-supernode again" in tell(gone)
    view.take(asked(2, "north", "south"))  # it is back
    assert states(view)["south"] == "extracting"
    assert view.notes() == []


def test_a_site_that_goes_away_is_waited_for_and_comes_back() -> None:
    gone = event("gone", 5, round=1, site="south", reason="Node Unavailable")
    back = event("back", 9, round=1, site="south", reason="")
    view = after(*ROUND_ONE, asked(1, "north", "south"), gone)
    assert states(view)["south"] == "GONE, waiting for it to come back: Node Unavailable"
    assert view.headline() == "round 1 of 2: 0 of 2 sites answered"
    assert view.notes() == ["south: start its flower-supernode if it stays away"]
    view.take(back)
    assert states(view)["south"] == "extracting"
    view.take(merged())
    view.take(gone)
    view.take(back)
    assert states(view)["south"] == "evaluating"
    nameless = event("gone", 1, round=1, site="node 7", reason="its SuperNode is offline")
    view = after(ROUND_ONE[0], nameless)
    assert "node 7" in states(view)
    view.take({**nameless, "event": "back"})
    assert states(view) == {}
    assert "south: GONE, waiting for it to come back: Node" in tell(gone)
    assert tell(back) == "south: back, and asked again"


def test_a_node_refused_at_the_roll_call_has_a_row_of_its_own() -> None:
    reason = "2 nodes call themselves 'north': give each its own site='...' in --node-config"
    refused = event("rejected", 3, round=1, site="north (node 7)", reason=reason)
    view = after(ROUND_ONE[0], refused, site("south"), asked(1, "south"))
    assert states(view)["north (node 7)"] == f"REJECTED: {reason}"
    assert view.headline() == "round 1 of 2: 0 of 1 sites answered, 1 lost or rejected"
    assert reason.split(":")[0] in screen(run_view(view)).replace("\n", " ")


def test_sites_never_heard_of_are_counted() -> None:
    view = after(event("waiting", 1, online=1, wanted=5))
    assert view.headline() == "waiting for sites: 1 of 5 online"
    assert view.unheard == 4
    assert "start the missing flower-supernode" in view.notes()[0]
    view = after(*ROUND_ONE, asked(1, "north", "south"), expected=3)
    assert view.unheard == 1
    assert view.missing
    assert not after(*ROUND_ONE, expected=3).missing  # the roll may still be called
    assert "(1 more)" in screen(run_view(view))
    view.take(finished())
    assert view.notes() == []


def test_how_it_ended() -> None:
    view = after(*ROUND_ONE, asked(1, "north", "south"), finished())
    assert view.over
    assert view.elapsed() == 31.5
    assert math.isnan(view.rows[0]["pooled"])
    assert (view.bank, view.report) == ("/srv/b", "/srv/r.html")
    shown = screen(result_table(view.rows))
    assert "0.500" in shown
    assert "hybrid" not in shown and "pooled" not in shown
    rows = [{**row, "hybrid": 0.75, "pooled": 0.25} for row in finished()["rows"]]
    view.take({**finished(), "rows": rows})
    shown = screen(result_table(view.rows))
    assert "0.750" in shown and "0.250" in shown
    cut = event("failed", 9, reason="too few sites")
    failed = after(*ROUND_ONE, asked(1, "north", "south"), trained("north"), cut)
    assert failed.over
    assert states(failed) == {"north": "sent", "south": "unfinished"}
    assert failed.headline() == "FAILED: too few sites"
    assert failed.elapsed() == 9.0


def test_time_goes_on_until_the_run_is_over() -> None:
    view = after(*ROUND_ONE)
    now = datetime.fromtimestamp(START.timestamp() + 75, UTC)
    assert view.elapsed(now) == 75
    assert view.elapsed(START) == 1  # a clock that is behind the server's
    assert RunView().elapsed(now) == 0
    assert RunView().headline() == "the server has not begun yet"
    resumed = after(event("started", run="7", resumed_after=2))
    assert resumed.headline() == "resumed after round 2, calling the sites"


def test_unknown_events_and_missing_facts_do_no_harm() -> None:
    view = after({"event": "novel"}, {"event": "trained", "site": "x"}, {"event": "round"})
    view.take({"event": "finished", "time": "never"})
    assert view.over
    assert tell({"event": "novel", "site": "x", "many": 3, "list": [1]}) == "novel: site x, many 3"
    assert tell({"event": "trained", "site": "x"}) == "trained: site x"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (ROUND_ONE[0], "started"),
        (event("waiting", online=1, wanted=3), "1 of 3 online; start the missing"),
        (site("north", 1200), "north: here, 1,200 images of plate on cpu"),
        (asked(1, "a", "b"), "round 1 of 2: asked 2 sites"),
        (
            trained("north", bad=2),
            "of 38 images (36 taught, 2 unreadable), 2.00 MB, 4.0 s",
        ),
        (trained("north", held_out=4), "patches of 40 images (36 taught, 4 held out), 2.00 MB"),
        (
            trained("north", 2, "delta", images=5, represented=41),
            "of 41 images, 5 of them new, 2.00 MB",
        ),
        (trained("north", kind="none"), "north: nothing new"),
        (merged(), "bank of round 1: 1,000 rows, 4.00 MB"),
        (evaluated("north", plate=0.9, ring=None), "plate 0.900 (alone 0.500), ring –"),
        (event("checkpoint", round=1, seconds=1), "round 1 complete and saved"),
        (finished(), "finished after 32 s"),
        (event("failed", reason="why"), "FAILED: why"),
    ],
)
def test_every_event_is_one_sentence(one: dict, words: str) -> None:
    assert words in tell(one)
    assert "\n" not in tell(one)


def test_reasons_that_name_their_fix_get_no_other() -> None:
    assert hint("use the same weights file everywhere") == ""
    assert "batch-size" in hint("its ClientApp process died (killed, or out of memory)")


def test_plain_lines_are_told_once_although_the_log_is_read_twice(capsys) -> None:
    shown = Follower(plain=True, out=Console(width=120))
    log = [f"INFO :      {to_line(one)}" for one in (*ROUND_ONE, asked(1, "north", "south"))]
    with shown:
        for line in log[:3]:
            shown.line(line)
        for _ in range(3):
            shown.again("cannot reach the SuperLink")
        for line in log:
            shown.line(line)
            shown.tick()
        shown.line("ERROR :     run stopped: no room")
    told = capsys.readouterr().out
    assert told.count("north: here") == 1
    assert told.count("cannot reach the SuperLink") == 1
    assert told.count("asked 2 sites") == 1
    assert shown.reason == "no room"
    assert states(shown.view) == {"north": "extracting", "south": "extracting"}


def test_on_a_terminal_the_table_stays_while_the_connection_is_away(tmp_path) -> None:
    with (tmp_path / "screen").open("w+") as file:
        out = Console(width=120, file=file, force_terminal=True, color_system=None)
        with Follower(out=out, expected=3) as shown:
            for one in (*ROUND_ONE, asked(1, "north", "south"), trained("north")):
                shown.line(json.dumps(one))
            shown.again("cannot reach the SuperLink")
        file.seek(0)
        told = file.read()
    assert "extracting" in told
    assert "never heard of" in told
    assert "! cannot reach the SuperLink; trying again" in told
    assert states(shown.view)["north"] == "sent"


def test_a_log_of_json_objects_is_read_as_well() -> None:
    shown = Follower(plain=True, out=Console(width=120, quiet=True))
    with shown:
        shown.line(json.dumps({"level": "INFO", "message": "event", **site("north")}))
        shown.line(json.dumps({"level": "ERROR", "message": "run stopped: no room"}))
    assert states(shown.view) == {"north": "waiting"}
    assert shown.reason == "no room"


def test_a_round_tells_how_many_were_wanted() -> None:
    begun = {**asked(1, "north", "south"), "online": 2, "wanted": 5}
    assert after(*ROUND_ONE, begun).unheard == 3
    assert tell(begun) == "round 1 of 2: asked 2 sites, 3 expected sites missing"


def test_who_is_chosen_who_cannot_now_and_who_is_late_is_told() -> None:
    names = ["north", "south", "west"]
    told = [
        {"event": "later", "round": 1, "site": "east", "reason": "not now: outside 22:00 to 06:00"},
        {"event": "round", "number": 1, "of": 2, "sites": names, "chosen": names[:2], "wanted": 3},
        {"event": "closed", "round": 1, "late": ["south"], "of": 2},
    ]
    view = RunView()
    for one in told:
        view.take(one)
    assert {name: site.state for name, site in view.sites.items()} == {
        "east": "not now: outside 22:00 to 06:00",
        "north": "extracting",
        "south": "late, not waited for",
        "west": "passed over",
    }
    assert not any(site.wrong for site in view.sites.values())
    assert view.headline() == "round 1 of 2: 0 of 2 sites answered"
    assert [tell(one) for one in told] == [
        "east: not now: outside 22:00 to 06:00",
        "round 1 of 2: asked 2 of 3 sites",
        "round 1 goes on without waiting for south",
    ]
