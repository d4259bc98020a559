"""Whether a site takes part now, by its own word: hours, load, memory, power, the way out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from fedpatchcore.errors import NotNow
from fedpatchcore.settings import listed
from fedpatchcore.site.settings import DAYS, Eligibility

__all__ = ["Machine", "Sensors", "require_now"]

BEGINS = ("facts", "train")  # the work that a site is asked to begin
LOOK_SECONDS = 0.5
ROUTES = Path("/proc/net/route")
ANYWHERE = "00000000"


class Sensors(Protocol):
    """What is looked at; each only where the site's word depends on it."""

    def now(self, zone: ZoneInfo | None) -> datetime:
        """The time there; None: by the machine's own zone."""

    def load(self) -> float:
        """Share of all cores that is busy."""

    def gpu_free(self) -> float | None:
        """Bytes free on the GPU with the most of them; None without one."""

    def on_battery(self) -> bool:
        """Whether the machine runs on its battery; False where it has none."""

    def ways_out(self) -> list[str]:
        """Names of the network interfaces of all default routes."""


class Machine:
    """The sensors of this machine."""

    def now(self, zone: ZoneInfo | None) -> datetime:
        return datetime.now(zone)

    def load(self) -> float:
        import psutil

        return psutil.cpu_percent(LOOK_SECONDS) / 100

    def gpu_free(self) -> float | None:
        import torch

        from fedpatchcore.devices.memory import free_bytes

        if not torch.cuda.is_available():
            return None
        devices = (torch.device("cuda", at) for at in range(torch.cuda.device_count()))
        return float(max(free_bytes(device) for device in devices))

    def on_battery(self) -> bool:
        import psutil

        battery = psutil.sensors_battery()
        return battery is not None and battery.power_plugged is False

    def ways_out(self) -> list[str]:
        try:
            lines = ROUTES.read_text().splitlines()[1:]
        except OSError:
            return []
        routes = (line.split() for line in lines)
        return sorted({one[0] for one in routes if len(one) > 1 and one[1] == ANYWHERE})


def require_now(words: Eligibility, verb: str, sensors: Sensors | None = None) -> None:
    """Raise NotNow if a site does not take part now.

    Load and memory are looked at where work begins: later the site's own is among them.

    Args:
        verb: what the site is asked, as `service.request.Request` names it. The exchanges of a
            secure sum that has begun go on, for the others' sake.
    """
    if verb != "sums" and (why := next(_reasons(words, verb, sensors or Machine()), "")):
        raise NotNow(f"not now: {why}")


def _reasons(words: Eligibility, verb: str, sensors: Sensors) -> Iterator[str]:
    if words.hours or words.weekdays:
        zone = ZoneInfo(words.time_zone) if words.time_zone else None
        if told := _outside(words, sensors.now(zone)):
            yield told
    if words.mains_only and sensors.on_battery():
        yield "on battery (mains-only)"
    if words.metered:
        yield from _metered(words.metered, sensors.ways_out())
    if verb not in BEGINS:
        return
    if words.most_load and (load := sensors.load()) > words.most_load:
        yield f"{load:.0%} of the cores are busy, most-load is {words.most_load:.0%}"
    if words.least_gpu_gb:
        free = sensors.gpu_free()
        if free is None:
            yield f"no GPU is seen, least-gpu-gb is {words.least_gpu_gb:g}"
        elif free < words.least_gpu_gb * 1e9:
            yield f"{free / 1e9:.3g} GB of GPU memory free, least-gpu-gb is {words.least_gpu_gb:g}"


def _outside(words: Eligibility, now: datetime) -> str:
    """Why this is no time to ask; "" if it is. A span belongs to the day on which it begins."""
    days, spans, clock = words.days(), words.spans(), now.time().replace(tzinfo=None)
    today, yesterday = now.weekday(), (now - timedelta(days=1)).weekday()
    if not spans:
        return "" if today in days else f"{DAYS[today]} is not among {words.weekdays}"
    inside = False
    for begin, end in spans:
        over = end < begin
        for day, there in (
            (today, begin <= clock if over else begin <= clock < end),
            (yesterday, over and clock < end),
        ):
            if there and day in days:
                return ""
            inside = inside or there
    told = ", ".join(f"{begin:%H:%M} to {end:%H:%M}" for begin, end in spans)
    where = f" {words.time_zone}" if words.time_zone else ""
    return f"outside {told}{where}" + (f" of {words.weekdays}" if inside else "")


def _metered(patterns: str, ways: list[str]) -> Iterator[str]:
    if not ways:
        yield "no way out is seen from here (metered): the node must say it, with its --metered"
    for name in ways:
        if any(fnmatchcase(name, pattern) for pattern in listed(patterns)):
            yield f"the way out is {name}, which is metered"
