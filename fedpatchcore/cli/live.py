"""A run on the console while it goes on: the live table of its sites, plain lines in a pipe."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from fedpatchcore.cli.common import console
from fedpatchcore.cli.sites import SiteTable
from fedpatchcore.runs.events import from_line
from fedpatchcore.runs.telling import tell
from fedpatchcore.runs.watch import RunView
from fedpatchcore.texts import NOTE, one_line

__all__ = ["Follower", "level_and_words", "run_view"]

LONGEST = 100_000  # characters of a line of the log that are looked at


def run_view(view: RunView, *, title: str = "", now: datetime | None = None) -> Group:
    """Headline, table and notes of a run."""
    head = Text(f"{title}  " if title else "")
    head.append(view.headline(), "bold red" if view.failed else "bold")
    head.append(f"  {_clock(view.elapsed(now))}", "dim")
    parts: list[RenderableType] = [head]
    if view.sites or view.unheard:
        parts.append(SiteTable(view))
    if outlook := view.outlook():
        parts.append(Text(outlook, "dim"))
    parts += [Text(f"! {note}", "yellow") for note in view.notes()]
    return Group(*parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class Follower:
    """Takes a run's log line by line and shows it; use as a context manager.

    Args:
        expected: sites the run waits for; 0 where unknown.
        title: words before the headline.
        plain: one line an event instead of the live table.

    Attributes:
        view: what the events told so far.
    """

    def __init__(
        self, *, expected: int = 0, title: str = "", plain: bool = False, out: Console | None = None
    ) -> None:
        self._out = out or console
        self._expected = expected
        self._title = title
        self.plain = plain or not self._out.is_terminal
        self.view = RunView(expected=expected)
        self._stopped = self._error = ""
        self._taken = self._told = 0
        self._trouble = ""
        self._replay = False
        self._drawn = 0.0
        self._started = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if not self.plain:  # drawn by `tick`, so that no other thread reads the view
            self._live = Live(self._render(), console=self._out, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self._render(), refresh=True)
            self._live.stop()
            self._live = None

    def tick(self) -> None:
        """Draw the table anew, a few times a second."""
        if self._live is not None and time.monotonic() - self._drawn > 0.25:
            self._live.update(self._render(), refresh=True)
            self._drawn = time.monotonic()

    def line(self, text: str) -> None:
        """Take one line of the log."""
        if self._replay:
            self.view, self._replay = RunView(expected=self._expected), False
        self._trouble = ""
        self._taken += 1
        fresh = self._taken > self._told
        self._told = max(self._told, self._taken)
        event = from_line(text)
        if event is not None:
            self.view.take(event)
            if self.plain and fresh:
                self._say(tell(event))
            return
        level, words = level_and_words(one_line(text, LONGEST))
        if words.startswith("run stopped: "):  # the ServerApp's own last words
            self._stopped = one_line(words.removeprefix("run stopped: "), 2 * NOTE)
        elif level == "ERROR" and words:
            self._error = words = one_line(words, 2 * NOTE)
            if self.plain and fresh and not self.view.over:
                self._say(words)

    @property
    def reason(self) -> str:
        """Why the run ended badly: its event, else its log's last words; empty if unknown."""
        return self.view.failed or self._stopped or self._error

    def again(self, reason: str) -> None:
        """The stream broke: the log will be read again from its beginning."""
        if self.plain and reason != self._trouble:
            self._say(f"{reason}; trying again")
        self._trouble = reason
        self._taken, self._replay = 0, True

    def _say(self, words: str) -> None:
        seconds = time.monotonic() - self._started
        words = escape(one_line(words, 2 * NOTE))
        self._out.print(f"[dim]{seconds:6.1f} s[/]  {words}", soft_wrap=True)

    def _render(self) -> RenderableType:
        shown = run_view(self.view, title=self._title, now=datetime.now(UTC))
        if not self._trouble:
            return shown
        return Group(shown, Text(f"! {self._trouble}; trying again", "red"))


def level_and_words(line: str) -> tuple[str, str]:
    """Level and words of a log line, text or JSON; no level where it has none."""
    if (start := line.find('{"')) >= 0 and '"message"' in line:
        try:
            told = json.loads(line[start:])
            return one_line(told.get("level", "")).upper(), one_line(told.get("message", ""))
        except (ValueError, RecursionError):
            pass
    level, colon, words = line.partition(":")
    level = level.strip()
    if colon and level.isupper() and level.isalpha():
        return level, words.strip()
    return "", line.strip()
