"""Released banks from the control room: fetched, checked, and told which one judges.

STATE/released/PRODUCT.safetensors is where one lies once it arrived whole; from there it is taken
like any other file. What goes wrong is told, and the bank in use goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from fedpatchcore.deploy.pulling import fetch, say_judging
from fedpatchcore.errors import ConfigError, FedPatchCoreError
from fedpatchcore.station.benches import Bench
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.texts import one_line

__all__ = ["Released", "ca_of", "read_key"]

NOTICED = 2.0  # seconds within which another bank that judges is told


class Released:
    """Pulls one product's released bank.

    Args:
        bench: the one in use.

    Attributes:
        trouble: why the last look brought nothing; empty: it went well.
        version: of the bank that lies here, as the control room numbers it.
    """

    def __init__(
        self,
        place: Place,
        settings: StationSettings,
        bench: Callable[[], Bench | None],
        client: Callable[..., httpx.Client] = httpx.Client,
    ) -> None:
        self.place, self.settings = place, settings
        self.trouble, self.version = "", ""
        self._bench, self._client = bench, client
        self._digest, self._told, self._tried = "", "", ""

    def run(self, stop: threading.Event) -> None:
        """Look again and again until told to stop; another bank that judges is told at once."""
        while not stop.is_set():
            self.look()
            later = time.monotonic() + 60 * self.settings.registry_minutes
            while (left := later - time.monotonic()) > 0 and not stop.wait(min(left, NOTICED)):
                if self._judges() != self._tried:  # what could not be told waits for the next look
                    self.tell()

    def look(self) -> None:
        """Fetch what is released, and say which bank judges; never raises."""
        try:
            told = fetch(
                *self._place(),
                self.place.folder / "released",
                signed_by=self.settings.registry_signed_by,
                new_features=self.settings.registry_new_features,
                **self._how(),
            )
            self._digest, self.version = told.digest, told.version
            self.trouble = ""
        except FedPatchCoreError as error:
            self.trouble = one_line(error, 300)
        else:
            self.tell()

    def tell(self) -> None:
        """Say which bank judges if the control room does not know; never raises."""
        judges = self._tried = self._judges()
        if not judges or judges == self._told:
            return
        try:
            say_judging(*self._place(), judges, **self._how())
            self._told, self.trouble = judges, ""
        except FedPatchCoreError as error:
            self.trouble = one_line(error, 300)

    def _judges(self) -> str:
        """Content of the bank in use; empty: none, or the site's own alone."""
        bench = self._bench()
        return bench.digest if bench and self.settings.judge_by != "own" else ""

    def _place(self) -> tuple[str, str, str]:
        return self.settings.registry, read_key(self.settings), self.settings.product

    def _how(self) -> dict[str, Any]:
        return {"root_certificates": ca_of(self.settings), "client": self._client}

    def version_of(self, digest: str) -> str:
        """How the control room numbers the bank of this content, if it is the last one fetched."""
        return self.version if digest == self._digest else ""


def ca_of(settings: StationSettings) -> Path | None:
    """By which the control room's certificate is known; None: as any other on this machine."""
    return Path(settings.registry_ca).expanduser() if settings.registry_ca else None


def read_key(settings: StationSettings) -> str:
    """This site's key for the control room. Raises ConfigError."""
    file = Path(settings.registry_key).expanduser()
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise ConfigError(f"registry-key: cannot read a key from {file}") from None
