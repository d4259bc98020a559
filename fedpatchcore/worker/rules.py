"""What a site does not do, whatever a run asks for: its own words, judged where its images are."""

from __future__ import annotations

import os
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
BYTES = 3 * 4  # of a pixel as a network sees it
LAYERS = 32  # what its layers hold of a picture beside it; wide_resnet50_2 30, filterbank 12
READERS = 4  # threads a core that read ahead: each holds a whole picture
ENTRY = re.compile(r"[A-Z0-9_]*")  # a name of torchvision's; everything else is a file


class Rules:
    """The site's own words. Each refusal is one line, names the site and what it says."""

    def __init__(self, words: WorkerConfig) -> None:
        self._words = words
        self._asked: deque[float] = deque()

    def before(self, request: Request, config: RunConfig) -> RunConfig:
        """The run's settings as this site does them, before anything of it is opened.

        Disk, pictures and reading ahead are given up to a most, which changes no figure. A batch is
        not made smaller: the last digits of features depend on it.

        Raises:
            PrivacyError: of privacy, or of what may leave.
            ConfigError, WorkerError: of files, of memory, or of too many requests.
        """
        words, here = self._words, f"site '{self._words.site}'"
        self._count(here)
        if request.verb in ("evaluate", "tune") and words.evaluate == "none":
            raise PrivacyError(f"{here} gives no verdicts (its worker says evaluate='none')")
        if request.verb == "tune" and not words.most_tune_minutes:
            raise PrivacyError(f"{here} tries no settings (its worker says most-tune-minutes=0)")
        return self.keeps(config)

    def keeps(self, config: RunConfig) -> RunConfig:
        """`before` of settings alone, a run's or a candidate's: nothing is counted."""
        words, here = self._words, f"site '{self._words.site}'"
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
        self._check_batch(here, config)
        return config.model_copy(
            update={
                "cache_gb": min(config.cache_gb, words.most_cache_gb),
                "tune_minutes": min(config.tune_minutes, words.most_tune_minutes or 1.0),
                "planted_trials": min(config.planted_trials, words.most_planted),
                "heatmaps": min(config.heatmaps, words.most_heatmaps),
                "workers": min(config.workers, READERS * (os.cpu_count() or 1)),
            }
        )

    def after(self, reply: object) -> None:
        """Raises PrivacyError if a reply holds more than may leave."""
        if isinstance(reply, TrainReply) and reply.contribution and self._words.most_rows:
            rows = max(len(part.features) for part in reply.contribution.parts.values())
            if rows > self._words.most_rows:
                raise PrivacyError(self._too_many(f"site '{self._words.site}'", rows))

    def _check_batch(self, here: str, config: RunConfig) -> None:
        most = self._words.most_batch_gb
        each = LAYERS * BYTES * config.image_size**2 / 1e9
        if config.batch_size * each <= most:
            return
        fits = int(most / each)
        mend = f"batch-size={fits}" if fits else "batch-size=1, and a smaller image-size"
        raise ConfigError(
            f"{here} gives a forward pass {most:g} GB at most, batch-size={config.batch_size} of "
            f"image-size={config.image_size} takes {config.batch_size * each:.3g} (its worker says "
            f"most-batch-gb): run with -c {mend}"
        )

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
