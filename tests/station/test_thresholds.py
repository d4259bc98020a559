"""Thresholds that people choose: by a proposal, by role, with a reason, for one bank, back."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import StationError
from fedpatchcore.station.asking import results_of, state_of
from fedpatchcore.station.drawing import drawn
from fedpatchcore.station.proposals import FEWEST, Proposal
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Alarm, Base, Chosen, Inspection
from fedpatchcore.web import tables as everywhere
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import now
from tests.support.stations import (
    browser,
    camera,
    drop,
    fitted,
    logged_in,
    make_station,
    rows_of,
    stepped,
)

ANNA = Actor("anna")


def judged(station: Station, tmp_path: Path) -> Inspection:
    """One more part that shows a defect, judged by what decides now."""
    number = len(rows_of(station.place))
    drop(tmp_path, f"real-{number}.png", 700, defect=True)
    station.watcher.look()
    station.worker.bench = station.worker.judges()
    assert station.worker.one(station.worker.bench)
    return rows_of(station.place)[-1]


def said(station: Station, like: Inspection, score: float, word: str, digest: str = "") -> None:
    """A part that was judged like another one, with another score, and what people said of it."""
    with station.place.database.write() as session:
        row = Inspection(source=f"said-{score}", digest=digest or f"{score!r:0>64}"[:64], size=1)
        row.product, row.arrived_at, row.urgent, row.state = "plate", now(), 0, "judged"
        row.verdict = "defect" if score > like.threshold else "ok"
        row.score, row.threshold, row.said, row.watched = score, like.threshold, word, 1
        row.bank, row.own, row.judged_by = like.bank, like.own, like.judged_by
        session.add(row)


@pytest.fixture
def spoken(station: Station, tmp_path: Path) -> tuple[Station, Inspection]:
    """People called some stopped parts good, one above a real part's score, and others defects."""
    stepped(station)
    real = judged(station, tmp_path)
    assert real.verdict == "defect" and real.regions and real.threshold_by == ""
    for share in (0.2, 0.4, 1.1):
        said(station, real, real.threshold + share * (real.score - real.threshold), "good")
    for at in range(FEWEST):
        said(station, real, (1.5 + at / 100) * real.score, "defect")
    station.words.say(ANNA, real.id, "good")
    return station, real


def proposal(station: Station) -> Proposal:
    (limit,) = station.thresholds.limits()
    (one,) = limit.proposals
    return one


def test_the_tables_are_those_of_the_migrations(station: Station) -> None:
    with station.place.database.engine.connect() as connection:
        both = [Base.metadata, everywhere.Base.metadata]
        assert compare_metadata(MigrationContext.configure(connection), both) == []


def test_accepted_judged_by_and_gone_back_from(spoken, tmp_path: Path) -> None:
    station, real = spoken
    made = proposal(station)
    assert made.kind == "raise" and made.value > real.score
    assert (made.alarms.count, made.alarms.of) == (4, 4)
    before = judged(station, tmp_path)
    assert (before.verdict, before.threshold, before.threshold_by) == ("defect", real.threshold, "")
    station.words.say(ANNA, before.id, "good")
    station.thresholds.accept(ANNA, "plate", "raise", repr(proposal(station).value), "too strict")
    (chosen,) = station.thresholds.in_force()
    after = judged(station, tmp_path)
    assert (after.verdict, after.threshold, after.regions) == ("ok", chosen.value, [])
    assert after.threshold_by == "person:1" and after.score == real.score
    old = rows_of(station.place)[0]
    assert (old.verdict, old.threshold, old.said) == ("defect", real.threshold, "good")  # as it was
    told = camera(station).get(f"/v1/inspections/{after.id}").json()
    assert told["threshold_by"] == "person:1" and told["threshold"] == chosen.value
    first = camera(station).get("/v1/inspections/1").json()
    assert first["threshold_by"] == "bank"
    assert results_of(station.settings, None, "", "", 1, rows=True)[0]["threshold_by"] == "person:1"
    station.thresholds.back(ANNA, "plate")
    again = judged(station, tmp_path)
    assert (again.verdict, again.threshold_by) == ("defect", "") and again.regions == real.regions
    with pytest.raises(StationError, match="own threshold decides"):
        station.thresholds.back(ANNA, "plate")
    lines = [json.loads(one) for one in station.place.trail.lines()]
    ours = [one for one in lines if one["what"].startswith("threshold.")]
    assert [one["what"] for one in ours] == ["threshold.chosen", "threshold.back"]
    assert ours[0]["who"] == "anna" and ours[0]["on"] == "plate"
    assert (ours[0]["before"], ours[0]["after"]["value"]) == (real.threshold, chosen.value)
    assert ours[0]["after"]["why"] == "too strict" and ours[0]["after"]["defects"]["of"] == FEWEST
    assert (ours[1]["before"], ours[1]["after"]) == (chosen.value, real.threshold)
    station.place.trail.verify()


def test_a_lower_one_outlines_what_it_stops(station: Station, tmp_path: Path) -> None:
    """A defect has a region on the page and in the overlay, whosever threshold says so."""
    file = tmp_path / "lax.safetensors"
    bank = MemoryBank.load(fitted()[1])
    lax = {name: {site: 9 * v for site, v in own.items()} for name, own in bank.thresholds.items()}
    replace(bank, thresholds=lax).save(file)
    station.close()
    station = make_station(tmp_path, bank=str(file))
    try:
        stepped(station)
        real = judged(station, tmp_path)
        assert real.verdict == "ok" and real.regions == []
        for at in range(100):
            said(station, real, real.score * (0.5 + at / 1000), "")
        for at in range(3):
            said(station, real, real.score * (0.9 + at / 1000), "defect")
        made = proposal(station)
        assert made.kind == "lower" and made.value < real.score
        assert (made.alarms.count, made.alarms.of) == (4, 104)  # the real one among them
        station.thresholds.accept(ANNA, "plate", "lower", repr(made.value), "they came back")
        after = judged(station, tmp_path)
        assert after.verdict == "defect" and after.regions and after.threshold == made.value
        image = station.place.image(after.digest)
        other = drawn(after, image, "heatmap"), drawn(real, image, "heatmap")
        assert other[0].tobytes() != other[1].tobytes()  # colours are shares of the threshold
    finally:
        station.close()


def test_nothing_changes_by_itself_and_it_holds_over_a_restart(spoken, tmp_path: Path) -> None:
    station, real = spoken
    made = proposal(station)
    assert judged(station, tmp_path).threshold == real.threshold  # proposed, and no more
    station.words.say(ANNA, len(rows_of(station.place)), "good")
    station.thresholds.accept(ANNA, "plate", "raise", repr(made.value), "why")
    for at in range(3):
        said(station, real, made.value * 1.05 + at / 1000, "good")
    assert proposal(station).value > made.value  # another one, which nobody took
    station.close()
    other = make_station(tmp_path, drift=False)
    try:
        other.start()
        assert other.health()["thresholds"][0]["value"] == made.value
        assert state_of(other.settings)["thresholds"][0].startswith(
            f"plate: {made.value:g} by anna"
        )
        assert proposal(other).value > made.value
        other.thresholds.accept(ANNA, "plate", "raise", repr(proposal(other).value), "more")
        other.thresholds.back(ANNA, "plate")  # one click, one step
        assert [one.value for one in other.thresholds.in_force()] == [made.value]
    finally:
        other.close()


def test_another_bank_brings_its_own_and_the_one_before_has_its_persons_again(
    spoken, tmp_path: Path
) -> None:
    station, real = spoken
    station.thresholds.accept(ANNA, "plate", "raise", repr(proposal(station).value), "why")
    value = station.thresholds.in_force()[0].value
    station.switch.begin()
    file = tmp_path / "next.safetensors"
    replace(MemoryBank.load(fitted()[1]), round=9).save(file)
    shutil.copy(file, tmp_path / "same.safetensors")
    station.settings.__dict__["bank"] = str(file)
    assert station.switch.renew(station.worker.judges())
    after = judged(station, tmp_path)
    assert (after.threshold, after.threshold_by, after.verdict) == (real.threshold, "", "defect")
    (limit,) = station.thresholds.limits()
    assert limit.chosen is None and limit.elsewhere.value == value
    assert not limit.proposals  # words are of another bank's scores
    lea = logged_in(station, "lea", "lead")
    for page in ("/banks", "/history"):
        assert "chose another threshold for another bank" in lea.get(page).text
    left = [json.loads(one) for one in station.place.trail.lines()]
    assert [one["before"] for one in left if one["what"] == "threshold.left"] == [value]
    station.switch.go_back(ANNA, "the new one is worse")
    back = judged(station, tmp_path)
    assert (back.threshold, back.threshold_by, back.verdict) == (value, "person:1", "ok")


def test_an_alarm_of_drift_and_one_picture_under_many_names_propose_nothing(spoken) -> None:
    station, _ = spoken
    with station.place.database.write() as session:
        alarm = Alarm(product="plate", kind="rate", cause="focus", begun_at=1, first_id=1)
        alarm.told = {"charts": [], "usual": [], "training": []}
        session.add(alarm)
    (limit,) = station.thresholds.limits()
    assert (limit.proposals, list(limit.why)) == ([], ["drift"])
    with pytest.raises(StationError, match="not what is proposed"):
        station.thresholds.accept(ANNA, "plate", "raise", "1.0", "why")
    with station.place.database.write() as session:
        session.get(Alarm, 1).ended_at = 2
        for row in session.query(Inspection).filter(Inspection.said == "defect"):
            row.digest = "the same"
    (limit,) = station.thresholds.limits()
    assert (limit.proposals, list(limit.why)) == ([], ["defects"])
    assert len(limit.told.defects) == 1


def test_people_do_it_on_the_page_by_their_role(spoken) -> None:
    station, _ = spoken
    value = repr(proposal(station).value)
    ivo, lea = logged_in(station, "ivo", "inspector"), logged_in(station, "lea", "lead")

    def post(caller, path: str, **form: str) -> int:
        csrf = re.search(r'name="csrf" value="([^"]+)"', caller.get("/history").text)[1]
        told = {"csrf": csrf, "product": "plate", "kind": "raise", "value": value, "why": "<b>x"}
        return caller.post(path, data=told | form).status_code

    assert "Proposed: higher" in ivo.get("/history").text
    assert "/thresholds/accept" not in ivo.get("/history").text
    assert post(ivo, "/thresholds/accept") == 403 == post(ivo, "/thresholds/back")
    text = lea.get("/history").text
    assert f'name="value" value="{value}"' in text and "0 of 20 (0%–14%)" in text
    wrong = ({"why": ""}, {"why": "x" * 501}, {"value": "1e999"}, {"value": "nan"}, {"kind": "x"})
    for form in (*wrong, {"product": "ring"}, {"product": "x" * 9999}, {"kind": "lower"}):
        assert post(lea, "/thresholds/accept", **form) == 400, form
    assert post(lea, "/thresholds/back") == 400 and station.thresholds.in_force() == []
    assert post(lea, "/thresholds/accept") == 303
    assert post(lea, "/thresholds/accept") == 400  # it was taken: nothing is proposed now
    text = ivo.get("/history").text
    assert "chosen by lea" in text and "&lt;b&gt;x" in text and "/thresholds/back" not in text
    assert "chosen by lea" in ivo.get("/").text
    assert "gewählt von lea" in ivo.get("/history", headers={"accept-language": "de"}).text
    assert post(lea, "/thresholds/back") == 303 and station.thresholds.in_force() == []
    assert browser(station).post("/thresholds/back").status_code in (303, 401)
    with station.place.database.read() as session:
        (row,) = session.query(Chosen)
    assert (row.who, row.why, row.ended_by) == ("lea", "<b>x", "lea")


def test_the_rates_since_are_those_of_this_threshold_alone(spoken, tmp_path: Path) -> None:
    station, _ = spoken
    station.thresholds.accept(ANNA, "plate", "raise", repr(proposal(station).value), "why")
    row = judged(station, tmp_path)
    station.words.say(ANNA, row.id, "defect")
    (limit,) = station.thresholds.limits()
    assert [(one.count, one.of) for one in limit.since] == [(0, 0), (1, 1)]
    assert station.words.real()[0].false_alarms.of == 4 + FEWEST
