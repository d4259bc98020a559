"""What a station is told: one file, ``station.toml``, read once at its start."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.errors import ConfigError
from fedpatchcore.features.engines.registry import WORDS
from fedpatchcore.places import cache_home
from fedpatchcore.settings import Settings, as_file, setting
from fedpatchcore.texts import is_name

__all__ = ["StationSettings", "read_station_file", "station_file"]

HEADER = """\
# A station: images come in, verdicts go out. Lines that begin with # are the defaults.
#
#   fedpatchcore station run {file}
"""


class StationSettings(Settings):
    """The file of one station."""

    title: ClassVar[str] = "A station (station.toml)"

    station: str = setting("", "this station's name, in all that it says")
    state: str = setting(
        "", "folder of its data base, images and banks; empty: station/NAME in $FEDPATCHCORE_HOME"
    )

    # banks
    bank: str = setting(
        "",
        "bank file of the federation, or a folder with PRODUCT.safetensors; a new one in its place "
        "is checked, warmed up, used",
    )
    registry: str = setting(
        "", "instead: address of the control room whose released bank of product is pulled"
    )
    registry_key: str = setting("", "file with this site's key for it")
    registry_signed_by: str = setting(
        "", "its public key, as 'control key' tells it; without it signatures are not checked"
    )
    registry_ca: str = setting("", "CA of its certificate, if no public one")
    registry_minutes: float = setting(5.0, "between two looks", gt=0, le=100_000)
    registry_new_features: bool = setting(
        False, "take a released bank of other features than the one before"
    )
    own_bank: str = setting("", "the site's own bank file, for judge-by own and hybrid")
    judge_by: Literal["federated", "own", "hybrid"] = setting(
        "federated",
        "the bank that decides, by its own threshold; hybrid: a patch that either knows",
    )
    site: str = setting("", "site whose threshold counts; empty: the median over sites")
    weights: str = setting("", "weights file of the backbone, if it is not found by itself")
    device: str = setting("auto", "auto, cpu, cuda, cuda:1 (or another number)")
    engine: str = setting(
        "",
        "what runs the network on a processor: torch, openvino or onnxruntime (extras); empty: as "
        "the bank was made",
        words=("", *WORDS),
    )
    threads: int = setting(0, "compute threads; 0: one a core", ge=0, le=1024)

    # images that come in by a folder
    watch: str = setting("", "folder whose images are judged; a sub-folder names the product")
    poll_seconds: float = setting(0.5, "between two looks into the folder", gt=0, le=3600)
    settle_seconds: float = setting(
        2.0, "a file that shows no end by itself is whole after so long without a change", gt=0
    )
    patience_seconds: float = setting(
        60.0, "a file that ends in the middle is given up after so long without a change", gt=0
    )
    taken: Literal["keep", "delete"] = setting(
        "keep", "delete: files leave the folder once the station holds them"
    )

    # products
    product: str = setting("", "product where neither folder nor name tells one")
    product_pattern: str = setting(
        "", "regular expression with a group (?P<product>…) that finds it in a file's name"
    )

    # pages and HTTP
    listen: str = setting("127.0.0.1:8070", "address:port of pages and HTTP")
    name: str = setting("", "host names that browsers use, comma-separated")
    certfile: str = setting("", "certificate (PEM); needed where others reach it")
    keyfile: str = setting("", "the certificate's private key (PEM)")
    client_ca: str = setting(
        "", "CA of certificates that every caller shows; cameras then need no key"
    )
    largest_mb: float = setting(50.0, "MB of an image that is taken in", gt=0, le=2000)
    megapixels: float = setting(100.0, "of an image that is decoded, at most", gt=0, le=100)
    requests_a_minute: int = setting(1200, "images of one key; more are refused for a while", ge=1)
    answer_seconds: float = setting(
        30.0, "a caller waits so long for the verdict, then gets a number to ask for", gt=0, le=600
    )
    most_waiting: int = setting(
        10_000, "images that may wait; callers are told to come later", ge=1
    )

    # what is kept
    keep_days: float = setting(30.0, "verdicts and images are kept so long; 0: for ever", ge=0)
    keep_gb: float = setting(20.0, "GB of images; the oldest go first; 0: no limit", ge=0)

    # what goes out
    out: str = setting("", "folder for JSON, heatmap and overlay of each image; empty: none")
    webhook: str = setting("", "address that each verdict in webhook-on is posted to")
    webhook_on: Literal["defect", "all"] = setting("defect", "which verdicts are posted")
    webhook_minutes: float = setting(
        60.0, "a post that nobody takes is given up after so long, and told", gt=0, le=100_000
    )
    mqtt: str = setting("", "host:port of an MQTT broker that gets every verdict")
    mqtt_topic: str = setting("fedpatchcore/verdicts", "topic of these messages")
    mqtt_user: str = setting("", "the station's name at the broker, if it asks for one")
    mqtt_password: str = setting("", "file with its password there")
    mqtt_ca: str = setting("", "CA of the broker's certificate; empty: without TLS")
    shifts: str = setting("06:00,14:00,22:00", "when shifts begin, in the station's own time")

    # passed parts that people look at
    checked_a_day: int = setting(
        10,
        "passed parts a day that are drawn by lot, a share after each shift, for a person to look "
        "at: how many defects pass; 0: none",
        ge=0,
        le=1000,
    )
    checked_seed: int = setting(0, "the same seed draws the same parts", ge=0)

    # the watch over drift
    drift: bool = setting(True, "tell when pictures or parts are not as they were")
    drift_reference: int = setting(
        100, "accepted parts that say what is usual, after each new bank", ge=20, le=5000
    )
    drift_group: int = setting(
        50, "parts in a row whose share of stopped ones is looked at", ge=10, le=200
    )
    drift_k: float = setting(
        1.0, "standard deviations off the middle that add nothing to a sum", ge=0.1, le=3
    )
    drift_h: float = setting(
        5.0, "standard deviations that a sum must reach for an alarm", ge=1, le=50
    )

    # what it learns from
    training: str = setting(
        "", "the site's folder of good images, by product as a run reads it; empty: none"
    )
    taught_a_day: int = setting(20, "images a day that people may add to training", ge=0, le=10_000)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.station and (not is_name(self.station, 100) or "/" in self.station):
            raise ValueError("station: a name is one line without '/'")
        if self.product_pattern:
            try:
                found = re.compile(self.product_pattern)
            except re.error as error:
                raise ValueError(f"product-pattern: no regular expression ({error})") from None
            if "product" not in found.groupindex:
                raise ValueError("product-pattern: it needs a group (?P<product>…)")
        if bool(self.certfile) != bool(self.keyfile):
            raise ValueError("certfile and keyfile belong together")
        if self.mqtt and not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}", self.mqtt):
            raise ValueError(f"mqtt: '{self.mqtt}' is no address: write HOST:PORT, broker:1883")
        if re.search(r"[#+\0]", self.mqtt_topic) or not self.mqtt_topic:
            raise ValueError("mqtt-topic: a topic to publish to has no '#' and no '+'")
        if self.client_ca and not self.certfile:
            raise ValueError(
                "client-ca takes a certificate of the station's own: certfile, keyfile"
            )
        if self.judge_by != "federated" and not self.own_bank:
            raise ValueError(f"judge-by {self.judge_by} takes an own-bank")
        if self.registry:
            self._can_pull()
        self.shift_minutes()
        return self

    def _can_pull(self) -> None:
        if self.bank:
            raise ValueError("registry or bank: a bank comes from one place")
        if not self.registry_key:
            raise ValueError("registry takes a key: registry-key = FILE")
        if not self.product or "/" in self.product or self.product.startswith("."):
            raise ValueError("registry takes the name of the product whose bank is pulled: product")

    def shift_minutes(self) -> list[int]:
        """Minutes after midnight at which shifts begin, ascending; ValueError for what is none."""
        found = []
        for one in self.shifts.split(","):
            told = re.fullmatch(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*", one)
            if not told:
                raise ValueError(f"shifts: '{one.strip()}' is no time; write 06:00,14:00,22:00")
            found.append(60 * int(told[1]) + int(told[2]))
        return sorted(set(found))

    def state_folder(self) -> Path:
        """Where it keeps what it holds."""
        told = Path(self.state).expanduser() if self.state else _default_state(self.station)
        return told.absolute()


def _default_state(station: str) -> Path:
    return cache_home() / "station" / station


def read_station_file(file: Path) -> StationSettings:
    """The station's file. Raises ConfigError naming what is wrong and what mends it."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{file} does not exist: 'fedpatchcore station init {file} --station NAME --bank FILE "
            "--watch FOLDER' writes one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise ConfigError(f"{file} is no TOML: {error}") from None
    config = StationSettings.parse(table, where=str(file))
    if not config.station:
        raise ConfigError(f'{file}: it names no station: write station = "..." into it')
    return config


def station_file(given: dict[str, Any], file: Path) -> str:
    """The text of a station's file: all keys with what they mean, those not given as comments."""
    return as_file([StationSettings], given, HEADER.format(file=file))
