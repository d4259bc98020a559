"""Released banks from the control room: fetched, checked, and told which one judges.

STATE/released/PRODUCT.safetensors is where one lies once it arrived whole; from there it is taken
like any other file. What goes wrong is told, and the bank in use goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from fedpatchcore.deploy.pulling import fetch, say_judging
from fedpatchcore.errors import ConfigError, FedPatchCoreError
from fedpatchcore.station.benches import Bench
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.texts import one_line

__all__ = ["Released", "ca_of", "read_key"]


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
        self._digest, self._told = "", ""

    def run(self, stop: threading.Event) -> None:
        """Look again and again until told to stop."""
        while not stop.is_set():
            self.look()
            stop.wait(60 * self.settings.registry_minutes)

    def look(self) -> None:
        """Fetch what is released, and say which bank judges; never raises."""
        try:
            key = read_key(self.settings)
            how = {"root_certificates": ca_of(self.settings), "client": self._client}
            place = self.settings.registry, key, self.settings.product
            told = fetch(
                *place,
                self.place.folder / "released",
                signed_by=self.settings.registry_signed_by,
                new_features=self.settings.registry_new_features,
                **how,
            )
            self._digest, self.version = told.digest, told.version
            bench = self._bench()
            judges = bench.digest if bench and self.settings.judge_by != "own" else ""
            if judges and judges != self._told:
                say_judging(*place, judges, **how)
                self._told = judges
            self.trouble = ""
        except FedPatchCoreError as error:
            self.trouble = one_line(error, 300)

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
