"""Settings of a site: its own comparisons, and when it may be asked."""

from __future__ import annotations

from datetime import time
from typing import ClassVar, Self
from zoneinfo import ZoneInfo

from pydantic import model_validator

from fedpatchcore.settings import Settings, listed, setting

__all__ = ["DAYS", "Eligibility", "SiteSettings"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class SiteSettings(Settings):
    """What a site does beside its part of the bank."""

    title: ClassVar[str] = "At a site"

    compare_local: bool = setting(True, "also score with each site's own bank, for comparison")
    planted_trials: int = setting(
        0,
        "defects a product that each site plants into good pictures, to tell which kinds, sizes "
        "and contrasts its threshold finds; 300 are enough for curves; 0: none",
        ge=0,
        le=20_000,
    )


class Eligibility(Settings):
    """When a site takes part: its own word. Outside it answers "not now" and is asked again."""

    title: ClassVar[str] = "When one site takes part (worker.toml, or node-config)"

    hours: str = setting("", 'when it may be asked, "22:00-06:00, 12:00-13:00"; empty: always')
    weekdays: str = setting("", 'on which its hours begin, "mon-fri, sun"; empty: on all')
    time_zone: str = setting("", 'of hours and weekdays, "Europe/Berlin"; empty: the machine\'s')
    most_load: float = setting(
        0.0, "share of its cores that other programs may keep busy; 0: no matter", ge=0, le=1
    )
    least_gpu_gb: float = setting(0.0, "GB of GPU memory that must be free; 0: no matter", ge=0)
    mains_only: bool = setting(False, "not while the machine runs on its battery")
    metered: str = setting(
        "",
        "network interfaces that cost, 'wwan*, ppp0': not while the way out is one of them (with a "
        "worker that has no network this is the node's word)",
    )

    @model_validator(mode="after")
    def _understood(self) -> Self:
        self.spans()
        self.days()
        try:
            if self.time_zone:
                ZoneInfo(self.time_zone)
        except (OSError, ValueError, KeyError):
            raise ValueError(
                f"time-zone: '{self.time_zone}' is none that this machine knows: write one like "
                "Europe/Berlin"
            ) from None
        return self

    def spans(self) -> tuple[tuple[time, time], ...]:
        """The hours, from and to; one that ends before it begins goes over midnight."""
        found = []
        for one in listed(self.hours):
            begin, dash, end = one.partition("-")
            try:
                span = time.fromisoformat(begin.strip()), time.fromisoformat(end.strip())
            except ValueError:
                span = None
            if span is None or not dash or span[0] == span[1] or any(t.tzinfo for t in span):
                raise ValueError(f"hours: '{one}' is no span of hours such as 22:00-06:00")
            found.append(span)
        return tuple(found)

    def days(self) -> frozenset[int]:
        """The weekdays, Monday is 0; all where nothing is said."""
        found: set[int] = set()
        for one in listed(self.weekdays.lower()):
            first, dash, last = (word.strip() for word in one.partition("-"))
            if first not in DAYS or (dash and last not in DAYS):
                raise ValueError(f"weekdays: '{one}' is none of {', '.join(DAYS)}, nor mon-fri")
            begin, end = DAYS.index(first), DAYS.index(last or first)
            found |= {day % 7 for day in range(begin, end + 1 + 7 * (end < begin))}
        return frozenset(found or range(7))
