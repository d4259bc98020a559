"""Stands in for systemctl on a host without systemd: starts what a unit's file says.

Of the file it keeps User, ExecStart, Environment, the state's and the runtime's folder,
PrivateNetwork, InaccessiblePaths and Restart=always. Lines of a service go to ~/UNIT.log.

systemctl start UNIT ...; every other verb does nothing
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/etc/systemd/system")
LOOP = 'while true; do "$@" || true; sleep 5; done'


def read(name: str) -> dict[str, str]:
    """The last value of each key."""
    lines = (UNITS / f"{name}.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] not in "#[")


def start(name: str) -> None:
    """Start a service in the background."""
    unit = read(name)
    user = pwd.getpwnam(unit["User"])
    for root, kind in (("/var/lib", "State"), ("/run", "Runtime")):
        if folder := unit.get(f"{kind}Directory"):
            place = Path(root, folder)
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(int(unit[f"{kind}DirectoryMode"], 8))
            os.chown(place, user.pw_uid, user.pw_gid)
    hidden = [path.lstrip("-") for path in unit.get("InaccessiblePaths", "").split()]
    script = [
        f"if [ -d {path} ]; then mount -t tmpfs -o mode=000 none {path}; "
        f"elif [ -e {path} ]; then mount --bind /dev/null {path}; fi"
        for path in hidden
    ]
    inside = ["unshare", "--mount"]
    if unit.get("PrivateNetwork") == "yes":
        inside.append("--net")
        script.append("ip link set lo up")
    become = f"exec setpriv --reuid {user.pw_uid} --regid {user.pw_gid} --init-groups"
    script.append(f"{become} --no-new-privs --bounding-set=-all -- sh -c '{LOOP}' sh \"$@\"")
    own = dict(pair.split("=", 1) for pair in unit.get("Environment", "").split())
    with Path.home().joinpath(f"{name}.log").open("ab") as log:
        subprocess.Popen(
            [*inside, "sh", "-euc", "\n".join(script), name, *unit["ExecStart"].split()],
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **own},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


if __name__ == "__main__":
    if sys.argv[1] == "start":
        for one in sys.argv[2:]:
            start(one)
            time.sleep(1)
