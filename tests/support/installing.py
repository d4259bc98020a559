"""An installation script run with the real tools, on a copy of /etc that it alone sees."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >> {log}
"""


def installed(folder: Path, lines: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run shell lines in ``folder`` as root of a mount namespace.

    /etc is a copy there, and systemctl writes what it is asked into ``folder``/log.
    """
    shims, etc = folder / "bin", folder / "etc"
    shims.mkdir()
    (shims / "systemctl").write_text(SYSTEMCTL.format(log=folder / "log"))
    (shims / "systemctl").chmod(0o755)
    subprocess.run(["cp", "-a", "/etc", str(etc)], check=True)
    (etc / "systemd" / "system").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-euc", "\n".join(["mount --bind etc /etc", *lines])],
        cwd=folder,
        env={"PATH": f"{shims}:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
