"""When a site takes part, by its own word: clock and sensors are the test's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.errors import ConfigError, NotNow
from fedpatchcore.site.eligible import Machine, require_now
from fedpatchcore.site.settings import DAYS, Eligibility

MONDAY = datetime(2026, 11, 30)  # a date whose weekday the calendar says


@dataclass
class Told:
    """Sensors that say what they are told, and which of them were asked."""

    at: datetime = MONDAY
    busy: float = 0.0
    gpu: float | None = None
    battery: bool = False
    ways: list[str] = field(default_factory=lambda: ["eth0"])
    asked: list[str] = field(default_factory=list)
    zone: ZoneInfo | None = None

    def now(self, zone: ZoneInfo | None) -> datetime:
        self.asked.append("now")
        self.zone = zone
        return self.at

    def load(self) -> float:
        self.asked.append("load")
        return self.busy

    def gpu_free(self) -> float | None:
        self.asked.append("gpu")
        return self.gpu

    def on_battery(self) -> bool:
        self.asked.append("battery")
        return self.battery

    def ways_out(self) -> list[str]:
        self.asked.append("ways")
        return self.ways


def why(words: dict, sensors: Told, verb: str = "facts") -> str:
    try:
        require_now(Eligibility.parse(words, where="test"), verb, sensors)
    except NotNow as error:
        return str(error)
    return ""


def day(number: int, hour: int, minute: int = 0) -> Told:
    return Told(MONDAY.replace(hour=hour, minute=minute, day=30 - (7 - number) % 7))


def test_nothing_is_looked_at_where_nothing_is_said() -> None:
    sensors = Told()
    assert why({}, sensors) == ""
    assert sensors.asked == []


@pytest.mark.parametrize(
    ("hour", "minute", "told"),
    [(22, 0, ""), (23, 59, ""), (5, 59, ""), (6, 0, "out"), (12, 0, "out"), (21, 59, "out")],
)
def test_hours_over_midnight(hour: int, minute: int, told: str) -> None:
    found = why({"hours": "22:00-06:00"}, day(0, hour, minute))
    assert found == ("not now: outside 22:00 to 06:00" if told else "")


@given(
    begin=st.integers(0, 1439),
    end=st.integers(0, 1439),
    now=st.integers(0, 1439),
)
def test_a_span_is_what_a_walk_over_the_clock_says(begin: int, end: int, now: int) -> None:
    if begin == end:
        return
    inside, at = set(), begin
    while at != end:
        inside.add(at)
        at = (at + 1) % 1440
    span = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    found = why({"hours": span}, day(2, now // 60, now % 60))
    assert (found == "") == (now in inside)


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    words = {"hours": "22:00-06:00", "weekdays": "mon-fri"}
    assert why(words, day(4, 23)) == ""  # friday
    assert why(words, day(5, 5)) == ""  # the same night, on saturday
    assert why(words, day(5, 23)) == "not now: outside 22:00 to 06:00 of mon-fri"
    assert why(words, day(6, 3)).endswith("of mon-fri")
    assert why(words, day(0, 3)).endswith("of mon-fri")  # sunday's night
    assert why({"weekdays": "sat-mon"}, day(2, 3)) == "not now: wed is not among sat-mon"
    assert [why({"weekdays": "sat-mon"}, day(n, 3)) == "" for n in (5, 6, 0)] == [True] * 3


def test_the_clock_is_read_in_the_sites_zone() -> None:
    sensors = day(0, 23)
    assert why({"hours": "22:00-06:00", "time-zone": "Europe/Berlin"}, sensors) == ""
    assert sensors.zone == ZoneInfo("Europe/Berlin")
    assert "06:00 Europe/Berlin" in why(
        {"hours": "22:00-06:00", "time-zone": "Europe/Berlin"}, day(0, 12)
    )


def test_power_line_load_and_memory() -> None:
    assert why({"mains-only": True}, Told(battery=True)) == "not now: on battery (mains-only)"
    assert why({"mains-only": True}, Told()) == ""
    metered = {"metered": "wwan*, ppp0"}
    assert why(metered, Told(ways=["wwan0"])) == "not now: the way out is wwan0, which is metered"
    assert why(metered, Told()) == ""
    assert "--metered" in why(metered, Told(ways=[]))
    busy = {"most-load": 0.5}
    assert why(busy, Told(busy=0.8)) == "not now: 80% of the cores are busy, most-load is 50%"
    assert why(busy, Told(busy=0.5)) == ""
    free = {"least-gpu-gb": 8}
    assert "7.5 GB of GPU memory free" in why(free, Told(gpu=7.5e9))
    assert "no GPU is seen" in why(free, Told())
    assert why(free, Told(gpu=8e9)) == ""


def test_load_is_looked_at_where_work_begins_and_a_sum_that_began_is_ended() -> None:
    words = {"most-load": 0.5, "hours": "22:00-06:00"}
    busy = day(0, 23)
    busy.busy = 0.9
    assert why(words, busy, "train")
    assert why(words, busy, "evaluate") == ""  # its own work is among it now
    assert why(words, day(0, 12), "evaluate")
    assert why(words, day(0, 12), "sums") == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"hours": "22h-06h"}, "no span of hours"),
        ({"hours": "06:00-06:00"}, "no span of hours"),
        ({"hours": "25:00-06:00"}, "no span of hours"),
        ({"hours": "06:00"}, "no span of hours"),
        ({"hours": "06:00Z-07:00Z"}, "no span of hours"),
        ({"weekdays": "monday"}, "nor mon-fri"),
        ({"weekdays": "mon-fry"}, "nor mon-fri"),
        ({"time-zone": "Middle/Earth"}, "like Europe/Berlin"),
        ({"time-zone": "../../etc/passwd"}, "like Europe/Berlin"),
        ({"most-load": 2}, "most-load"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(words: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Eligibility.parse(words, where="worker.toml")


def test_this_machine_has_such_sensors() -> None:
    machine = Machine()
    assert machine.now(ZoneInfo("UTC")).tzinfo is not None
    assert 0 <= machine.load() <= 1
    assert machine.on_battery() in (True, False)
    assert all(isinstance(name, str) for name in machine.ways_out())
    assert len(DAYS) == 7
