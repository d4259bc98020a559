"""A station as a systemd service: an ordinary user that sees what its file names and no more."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from fedpatchcore.deploy.installing import ETC, SYSTEMD, Units, plain
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.unit_files import GPU, HARD, NO_GPU
from fedpatchcore.station.settings import StationSettings, read_station_file, station_file
from fedpatchcore.web.serving import AT_HOME

__all__ = ["STATION_NAME", "STATION_USER", "StationUnits"]

STATION_USER, STATION_NAME = "fpc-station", "fedpatchcore-station"
TOML, SECRETS = ETC / "station.toml", ETC / "station"
STATE = Path("/var/lib", STATION_NAME)
SECRET = {"registry-key": "registry.key", "keyfile": "page.key"}
"""Files that the station alone may read, and what their copies are called."""

SERVICE = Template(f"""\
# Made by: fedpatchcore station units
# It takes images in, judges them and shows its pages; nothing here needs root.
[Unit]
Description=FedPatchCore station $station
Wants=network-online.target
After=network-online.target
RequiresMountsFor=$mounts
StartLimitIntervalSec=0

[Service]
User=$user
Group=$user
ExecStart=$python -P -m fedpatchcore.cli station run $toml
Environment=HOME=$state FEDPATCHCORE_HOME=$state PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
Restart=always
RestartSec=5
TimeoutStopSec=60
$memory
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
$network

# Of homes it sees what is named here, read-only but for what follows. Name here as well what
# $toml names later.
ProtectHome=tmpfs
BindReadOnlyPaths=$shown
$written
# Data base, images, banks: verdicts are worth a backup, images are as long as they are kept.
StateDirectory=$name
StateDirectoryMode=0700

$devices
{HARD}

[Install]
WantedBy=multi-user.target
""")

INSTALL = Template("""\
#!/bin/sh
# Made by: fedpatchcore station units
# A user and a service for station $station. As root; it may be run again, and leaves a
# station.toml that is there as it is.
set -eu
cd "$$(dirname "$$0")"

id -u $user >/dev/null 2>&1 ||
  useradd --system --user-group --no-create-home --home-dir /nonexistent \\
    --shell /usr/sbin/nologin $user

install -d -m 0755 -o root -g root $etc
if [ ! -e $toml ]; then
  install -m 0640 -o root -g $user station.toml $toml
elif ! cmp -s station.toml $toml; then
  echo "$toml stays as it is: compare it with $$PWD/station.toml" >&2
fi
install -d -m 0750 -o root -g $user $secrets
$copied
install -m 0644 -o root -g root $name.service $systemd
systemctl daemon-reload
systemctl enable $name
systemctl try-restart $name
""")

ALONE = """\
# It talks to this machine alone: nobody else reaches its pages, and its file names no other host.
IPAddressDeny=any
IPAddressAllow=localhost"""


@dataclass(frozen=True)
class StationUnits(Units):
    """What the service of one station is made of.

    Args:
        settings: of its file, as it lies now; the service has a copy with a state of its own.
        memory_max: bytes that it may take, as systemd writes them (``8G``); "": any.

    Raises:
        ConfigError: a name or path that cannot stand in a service's file.
    """

    settings: StationSettings
    gpu: bool = False
    memory_max: str = ""
    python: Path = Path(sys.executable)

    def __post_init__(self) -> None:
        shown = map(str, (*self._shown(), *self._written(), *self._secrets().values()))
        plain((self.settings.station, str(self.python), *shown), self.memory_max)

    @classmethod
    def of(cls, file: Path, **more: Any) -> StationUnits:
        """Of the station whose file this is; ``more`` as above. Raises ConfigError."""
        return cls(read_station_file(file), **more)

    def files(self) -> dict[str, str]:
        """Text by name: the service, the station's file, the script that installs them."""
        written = " ".join(map(str, self._written()))
        secrets = self._secrets()
        told = {
            "station": self.settings.station,
            "python": self.python,
            "user": STATION_USER,
            "name": STATION_NAME,
            "state": STATE,
            "toml": TOML,
            "etc": ETC,
            "systemd": SYSTEMD,
            "secrets": SECRETS,
            "mounts": " ".join(map(str, (*self._shown(), *self._written()))) or STATE,
            "shown": " ".join(map(str, self._shown())),
            "written": f"BindPaths={written}\nReadWritePaths={written}\n" if written else "",
            "memory": f"MemoryMax={self.memory_max}\n" if self.memory_max else "",
            "network": ALONE if self._alone() else "",
            "devices": GPU if self.gpu else NO_GPU,
            "copied": "".join(
                f"install -m 0400 -o {STATION_USER} -g {STATION_USER} "
                f"{shlex.quote(str(file))} {SECRETS / SECRET[key]}\n"
                for key, file in secrets.items()
            ),
        }
        given = self._given(secrets)
        return {
            f"{STATION_NAME}.service": re.sub(r"\n{3,}", "\n\n", SERVICE.substitute(told)),
            "station.toml": station_file(given, TOML),
            "install.sh": INSTALL.substitute(told),
        }

    def lacking(self) -> str:
        """A file that it alone may read, and that is not there."""
        gone = (one for one in self._secrets().values() if not one.is_file())
        return next((f"{one} does not exist" for one in gone), "")

    def remains(self) -> dict[str, str]:
        """What a person must do still: command by what it is for."""
        command = self.python.with_name("fedpatchcore")
        found = {}
        for what, rights, places in (
            ("read", "rX", self._shown()),
            ("read and write", "rwX", self._written()),
        ):
            if places:
                entry = f"u:{STATION_USER}:{rights},d:u:{STATION_USER}:{rights}"
                found[f"let it {what} its folders"] = (
                    f"setfacl -R -m {entry} {' '.join(map(str, places))}"
                )
        found |= {
            "read what it is told": f"less {TOML}",
            "start": f"systemctl start {STATION_NAME}",
            "the first admin's link": f"journalctl -u {STATION_NAME} | grep join",
            "look": f"runuser -u {STATION_USER} -- {command} station status {TOML}",
        }
        return found

    # -- what its file names ----------------------------------------------------------

    def _given(self, secrets: dict[str, Path]) -> dict[str, Any]:
        """Lines of the service's own file, by key."""
        usual = StationSettings().table()
        given = {key: one for key, one in self.settings.table().items() if one != usual[key]}
        for key, file in self._files().items():
            given[key] = str(file)
        given |= {key: str(SECRETS / SECRET[key]) for key in secrets}
        given["state"] = str(STATE)
        StationSettings.parse(given, where="station units")
        return given

    def _files(self) -> dict[str, Path]:
        told = self.settings.table()
        names = ("bank", "own-bank", "registry-ca", "watch", "out", "training", "weights")
        names += ("certfile", "client-ca")
        files = {key: Path(told[key]).expanduser().absolute() for key in names if told[key]}
        if "weights" in files and not files["weights"].is_file():
            del files["weights"]  # a name, and no file
        return files

    def _secrets(self) -> dict[str, Path]:
        told = self.settings.table()
        return {key: Path(told[key]).expanduser().absolute() for key in SECRET if told[key]}

    def _written(self) -> list[Path]:
        """Folders in which it writes or deletes."""
        files = self._files()
        found = [files["out"]] if "out" in files else []
        if "watch" in files and self.settings.taken == "delete":
            found.append(files["watch"])
        if "training" in files and self.settings.taught_a_day:
            found.append(files["training"])
        return found

    def _shown(self) -> list[Path]:
        """Files and folders that it reads; of banks the folder, where a new one takes its place."""
        found = []
        for key, file in self._files().items():
            one = file.parent if key in ("bank", "own-bank") and not file.is_dir() else file
            if one not in found and one not in self._written():
                found.append(one)
        return found

    def _alone(self) -> bool:
        told = self.settings
        others = told.registry or told.webhook or told.mqtt
        return not others and Address.parse(told.listen).host.strip("[]") in AT_HOME
