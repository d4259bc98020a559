"""What a site's worker is told: a file of the site, which nothing on the network side passes."""

from __future__ import annotations

import pwd
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.config import NodeConfig, SiteOwn
from fedpatchcore.errors import ConfigError
from fedpatchcore.places import cache_home
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.privacy.settings import SitePrivacy
from fedpatchcore.settings import as_file, listed, setting
from fedpatchcore.site.settings import Eligibility
from fedpatchcore.spelling import nearest

__all__ = ["WorkerConfig", "read_worker_config", "worker_file"]

PLACES = ("data", "exclude", "cache", "out", "groups", "ledger", "roster", "sums-key", "socket")
LONGEST_PATH = 100  # bytes; the system takes 107 of a socket's address
HEADER = """\
# What this site's worker knows and allows, whatever a run asks for. Nobody but the worker's user
# should be able to write this file. Lines that begin with # are the defaults.
#
#   fedpatchcore worker run {file}
"""


class WorkerConfig(SiteOwn):
    """The file of one worker."""

    title: ClassVar[str] = "A site's worker (worker.toml)"

    socket: str = setting("", "where it listens; empty: run/SITE.sock below $FEDPATCHCORE_HOME")
    users: str = setting(
        "", "users that may ask, comma-separated; empty: the worker's own (and root, always)"
    )
    queue: int = setting(4, "requests that may wait behind the one in work", ge=0, le=1000)
    largest_message: float = setting(8.0, "GB of one message, either way", gt=0, le=1000)
    longest_request: float = setting(
        7200.0, "seconds after which work is given up, however long a round may last", gt=0
    )
    warm_gb: float = setting(1.0, "GB of features and bank kept in memory between requests", ge=0)
    idle_seconds: float = setting(
        600.0, "without a request for so long, network and GPU memory are given back", gt=0
    )
    requests_an_hour: int = setting(600, "more are refused until the hour is over", ge=1)
    evaluate: Literal["all", "none"] = setting(
        "all", "none: the site gives rows, and no verdicts or figures on its images leave"
    )
    most_rows: int = setting(
        0, "most coreset rows a product that may leave in one reply; 0: as the run asks", ge=0
    )
    most_cache_gb: float = setting(
        100.0, "most GB of features on its disk; a run that asks for more gets this", ge=0
    )
    most_heatmaps: int = setting(
        100, "most pictures per product and kind; a run that asks for more gets this", ge=0, le=1000
    )
    most_planted: int = setting(
        1000,
        "most defects a product planted in one evaluation; a run that asks for more gets this",
        ge=0,
    )
    most_tune_minutes: float = setting(
        30.0,
        "most minutes of a message that asks it to try settings; 0: it takes part in no such run",
        ge=0,
    )
    most_batch_gb: float = setting(
        8.0,
        "most GB that a forward pass may take, 32 times its pictures as the network sees them; a "
        "run that asks for more is refused",
        gt=0,
    )
    mechanisms: str = setting(
        "", "mechanisms of differential privacy it takes part in, comma-separated; empty: all"
    )
    rehearsals: bool = setting(False, "let runs that rehearse an attack falsify this site's rows")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for name in self.mechanism_names():
            if name not in MECHANISMS:
                near = nearest(name, MECHANISMS)
                raise ValueError(f"mechanisms: unknown mechanism '{name}'{near}")
        return self

    def mechanism_names(self) -> tuple[str, ...]:
        """The mechanisms that it takes part in; empty: all."""
        return listed(self.mechanisms)

    @property
    def largest_bytes(self) -> int:
        """Of one message, a request or an answer."""
        return int(self.largest_message * 1e9)

    def node(self) -> NodeConfig:
        """What the site says of itself, as its work takes it."""
        own = {name: getattr(self, name) for name in SiteOwn.model_fields}
        return NodeConfig(**own)

    def socket_path(self) -> Path:
        """Where the worker listens. Raises ConfigError if the system can't take the address."""
        told = Path(self.socket).expanduser() if self.socket else _default_socket(self.site)
        path = told.absolute()
        if len(str(path).encode()) > LONGEST_PATH:
            raise ConfigError(
                f"socket {path} is too long for the system ({LONGEST_PATH} bytes at most): name a "
                "shorter one with socket='/run/fedpatchcore/worker.sock'"
            )
        return path

    def user_ids(self) -> set[int]:
        """The numbers of `users`. Raises ConfigError for one that this system does not know."""
        found = set()
        for name in listed(self.users):
            try:
                found.add(int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid)
            except KeyError:
                raise ConfigError(
                    f"users: there is no user '{name}' on this system: make it (useradd --system "
                    f"{name}) or give its number"
                ) from None
        return found


def _default_socket(site: str) -> Path:
    return cache_home() / "run" / f"{site}.sock"


def read_worker_config(file: Path) -> WorkerConfig:
    """The worker's file. Raises ConfigError naming what is wrong and what mends it."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{file} does not exist: 'fedpatchcore worker init {file} --site NAME --data FOLDER' "
            "writes one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise ConfigError(f"{file} is no TOML: {error}") from None
    config = WorkerConfig.parse(table, where=str(file))
    if not config.site or not config.data:
        missing = "site" if not config.site else "data"
        raise ConfigError(f'{file}: it names no {missing}: write {missing} = "..." into it')
    _check_places(config, file)
    return config


def _check_places(config: WorkerConfig, file: Path) -> None:
    """Raises ConfigError if a place depends on the folder that the worker is started in.

    From another one it would have an empty ledger, and had forgotten what was spent.
    """
    for key, place in config.table().items():
        if key in PLACES and place and not _absolute(place):
            raise ConfigError(
                f"{file}: {key} = '{place}' depends on where the worker is started: write the "
                f"whole path, such as {(file.absolute().parent / place)}"
            )


def _absolute(place: str) -> bool:
    try:
        return Path(place).expanduser().is_absolute()
    except RuntimeError:  # the home of a user that there is not
        return False


def worker_file(given: dict[str, Any], file: Path) -> str:
    """The text of a worker's file: all keys with what they mean, those not given as comments."""
    return as_file(
        [SiteOwn, SitePrivacy, Eligibility, WorkerConfig], given, HEADER.format(file=file)
    )
