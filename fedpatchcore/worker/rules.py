"""What a site does not do, whatever a run asks for: its own words, judged where its images are."""

from __future__ import annotations

import re
import time
from collections import deque

from fedpatchcore.config import RunConfig
from fedpatchcore.data.group_by import compiled
from fedpatchcore.errors import ConfigError, PrivacyError, WorkerError
from fedpatchcore.service.request import Request
from fedpatchcore.wire.messages import TrainReply
from fedpatchcore.worker.settings import WorkerConfig

__all__ = ["Rules"]

HOUR = 3600.0
ENTRY = re.compile(r"[A-Z0-9_]*")  # a name of torchvision's; everything else is a file


class Rules:
    """The site's own words. Each refusal is one line, names the site and what it says."""

    def __init__(self, words: WorkerConfig) -> None:
        self._words = words
        self._asked: deque[float] = deque()

    def before(self, request: Request, config: RunConfig) -> None:
        """Raises before anything of the site is opened.

        Raises:
            PrivacyError: of privacy, or of what may leave.
            ConfigError, WorkerError: of files, or of too many requests.
        """
        words, here = self._words, f"site '{self._words.site}'"
        self._count(here)
        if request.verb == "evaluate" and words.evaluate == "none":
            raise PrivacyError(f"{here} gives no verdicts (its worker says evaluate='none')")
        known = words.mechanism_names()
        if known and config.dp != "off" and config.dp not in known:
            raise PrivacyError(
                f"{here} takes part in {', '.join(known)} alone (its worker says mechanisms): run "
                f"with -c dp={known[0]}"
            )
        if config.attack and not words.rehearsals:
            raise PrivacyError(
                f"{here} takes part in no rehearsal of attacks (its worker does not say "
                "rehearsals=true)"
            )
        if not words.weights and not ENTRY.fullmatch(config.weights):
            raise ConfigError(
                f"{here} opens no file that a run names: put the weights' file into its "
                "worker.toml (weights)"
            )
        if not words.group_by and compiled(config.group_by):
            raise ConfigError(  # one that backtracks could not be interrupted
                f"{here} runs no pattern that a run names: put it into its worker.toml (group-by)"
            )
        if words.most_rows and config.coreset_size > words.most_rows:
            raise PrivacyError(self._too_many(here, config.coreset_size))

    def after(self, reply: object) -> None:
        """Raises PrivacyError if a reply holds more than may leave."""
        if isinstance(reply, TrainReply) and reply.contribution and self._words.most_rows:
            rows = max(len(part.features) for part in reply.contribution.parts.values())
            if rows > self._words.most_rows:
                raise PrivacyError(self._too_many(f"site '{self._words.site}'", rows))

    def _too_many(self, here: str, rows: int) -> str:
        most = self._words.most_rows
        return (
            f"{here} gives {most:,} rows a product at most, {rows:,} were asked for (its worker "
            f"says most-rows): run with -c coreset-size={most}"
        )

    def _count(self, here: str) -> None:
        now = time.monotonic()
        while self._asked and now - self._asked[0] > HOUR:
            self._asked.popleft()
        if len(self._asked) >= self._words.requests_an_hour:
            raise WorkerError(
                f"{here} answers {self._words.requests_an_hour:,} requests an hour (its worker "
                f"says requests-an-hour): ask again in {HOUR - now + self._asked[0]:.0f} s"
            )
        self._asked.append(now)
