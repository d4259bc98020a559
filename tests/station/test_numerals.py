"""Numbers are written in the language of the page; what programs read has points in all."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.station.numerals import MARKS, in_language, numerals_of
from fedpatchcore.station.speech import LANGUAGES
from fedpatchcore.station.station import Station
from fedpatchcore.station.tables import Alarm
from tests.support.speech import FOLDERS
from tests.support.stations import camera, drop, logged_in, rows_of, stepped

PAGES = ("/", "/stopped", "/parts/1", "/history", "/watch", "/banks")
POINT, COMMA = re.compile(r"\d\.\d"), re.compile(r"\d,\d")
LABEL = re.compile(r'aria-label="([^"]*)"')
VERSION = re.compile(r"<footer>.*?</footer>|<title>.*?</title>|<option.*?</option>", re.S)
NO_NUMBER = re.compile(r"[\w-]+\.png|\d\d:\d\d:\d\d")  # names of files, times


@pytest.fixture
def line(make: Callable[..., Station], tmp_path: Path) -> Station:
    """Parts that passed and were stopped, words on both, a watch with an alarm."""
    station = make(**{"drift-reference": 20, "drift-group": 20})
    bench = stepped(station)
    for at in range(30):
        drop(tmp_path, f"{at:02d}.png", at, defect=at % 6 == 0)
    station.watcher.look()
    while station.worker.one(bench):
        pass
    station.drift.look()
    who = logged_in(station)
    token = re.search(r'name="csrf" value="([^"]+)"', who.get("/stopped").text)[1]
    for one in rows_of(station.place):
        if one.verdict == "defect" and one.id > 1:
            told = {"csrf": token, "says": "good"}
            assert who.post(f"/parts/{one.id}/word", data=told).status_code == 303
    with station.place.database.write() as session:
        moved = {"sharpness": {"was": 21.25, "now": 10.5}, "uncovered": {"was": 0.0125, "now": 0.5}}
        chart = {"chart": "score", "side": "up", "since": 3, "counts": None, "parts": [3]}
        told = {"charts": [chart | {"moved": moved}], "usual": [1], "training": []}
        alarm = {"product": "plate", "kind": "score", "cause": "focus", "begun_at": 1}
        session.add(Alarm(**alarm, first_id=3, told=told))
    return station


def shown(station: Station, page: str, language: str) -> str:
    """What people read of a page: its texts, and what is read out to them."""
    answer = logged_in(station, f"{language}{page}").get(
        page, headers={"accept-language": language}
    )
    assert answer.status_code == 200 and f'<html lang="{language}"' in answer.text
    text = VERSION.sub(" ", answer.text)
    told = [*LABEL.findall(text), *re.sub(r"<[^>]+>", "\n", text).split("\n")]
    return "\n".join(NO_NUMBER.sub(" ", html.unescape(one)) for one in told)


def test_every_page_writes_numbers_in_its_language(line: Station) -> None:
    for page in PAGES:
        german, english = shown(line, page, "de"), shown(line, page, "en")
        if page == "/watch":  # thousands of parts
            assert german.count("107.1") == english.count("107,1") == 1
            german, english = german.replace("107.1", ""), english.replace("107,1", "")
        assert POINT.findall(german) == COMMA.findall(english) == [], page
        if page != "/banks":
            assert COMMA.search(german) and POINT.search(english), page
            assert re.sub(r"\D", "", german) == re.sub(r"\D", "", english), page
    assert re.search(r"\d\u00a0%", shown(line, "/history", "de"))


def test_what_programs_read_has_points_in_every_language(line: Station) -> None:
    who = logged_in(line)
    for language in LANGUAGES:
        told = who.get("/history.csv", headers={"accept-language": language}).text
        rows = list(csv.DictReader(io.StringIO(told)))
        assert len(rows) == 30
        for one in rows:
            assert float(one["score"]) > 0 and float(one["threshold"]) > 0
    program = camera(line, "viewer")
    told = [program.get(at, headers={"accept-language": "de"}) for at in ("/v1/rates", "/metrics")]
    assert all(POINT.search(one.text) for one in told)


def test_pictures_on_a_page_are_drawn_in_every_language(line: Station) -> None:
    """Places in an SVG are no numbers for people: a comma there would be another place."""
    who = logged_in(line)
    for page in ("/parts/1", "/watch"):
        english, german = (
            who.get(page, headers={"accept-language": one}).text for one in LANGUAGES
        )
        places = re.compile(r'(?: [dxy]|[xy][12]|width|c[xy]|offset|viewBox)="([^"]*)"')
        assert places.findall(english) == places.findall(german) != []


def test_numbers_of_all_languages() -> None:
    assert set(MARKS) == set(LANGUAGES)
    assert in_language("en", "1,234.5%") == "1,234.5%"
    assert in_language("de", "1,234.5%") == "1.234,5\u00a0%"
    german = numerals_of("de")
    assert german["figure"](0.8249) == "0,825" and german["figure"](None, 2) == "–"
    assert german["share"](0.0751) == "7,5\u00a0%" and german["short"](0.000012) == "1,2e-05"
    assert german["whole"](107123.4) == "107.123"
    assert [words for _, words in german["legend"](1.5).ticks] == ["1,5", "2×", "4×", "10×"]


def test_no_template_writes_a_number_by_itself() -> None:
    for file in FOLDERS[0].glob("*.j2"):
        assert "format(" not in file.read_text() and "|percent" not in file.read_text(), file.name
