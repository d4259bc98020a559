"""A host with a systemd of its own: its first process, in namespaces, on a copy of this machine's
root.

The copy is an overlay in memory: what is installed, started or written there is gone with it. Of
the machine's own services nothing is started; its network is a loopback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.hosts.system import Python

__all__ = ["Booted", "missing"]

SYSTEMD = next(
    (p for p in map(Path, ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")) if p.exists()), None
)
TOOLS = ("unshare", "nsenter", "pivot_root", "ip", "systemctl", "setfacl", "useradd")
SERVICES = (
    *("systemd-udevd", "systemd-udev-trigger", "systemd-timesyncd", "systemd-modules-load"),
    *("systemd-sysctl", "systemd-journal-flush", "systemd-remount-fs", "systemd-update-utmp"),
    *("systemd-machine-id-commit", "systemd-tmpfiles-setup-dev", "systemd-tmpfiles-setup"),
    *("systemd-sysusers", "systemd-random-seed", "systemd-pcrphase", "systemd-pcrphase-sysinit"),
    *("kmod-static-nodes", *(f"modprobe@{name}" for name in ("configfs", "fuse", "dm_mod", "drm"))),
    *(f"modprobe@{name}" for name in ("efi_pstore", "loop")),
)
MOUNTS = (
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
    "proc-sys-fs-binfmt_misc.automount",
)
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
TARGET = """\
[Unit]
Description=Nothing but what is started by name
AllowIsolate=yes
Requires=sysinit.target
After=sysinit.target
"""
BOOT = """\
mount --make-rprivate /
mount -t tmpfs none "$stage"
mkdir "$stage/upper" "$stage/work" "$stage/root"
mount -t overlay -o "lowerdir=/,upperdir=$stage/upper,workdir=$stage/work" overlay "$stage/root"
cd "$stage/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 none run
mount -t tmpfs -o mode=755 none dev
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 none dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
for one in {devices}; do touch dev/$one; mount --bind /dev/$one dev/$one; done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
rm -rf etc/systemd/system etc/fedpatchcore
mkdir etc/systemd/system
for one in {masked}; do ln -s /dev/null etc/systemd/system/$one; done
mkdir -p etc/systemd/system.conf.d
cp "$given/bare.target" etc/systemd/system/
cp "$given/python.conf" etc/systemd/system.conf.d/
ip link set lo up
mkdir before
pivot_root . before
umount -l /before
{mounts}
exec env -i container=namespaces PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  {systemd} --unit=bare.target --show-status=no --log-target=null
"""


def missing() -> str:
    """Why no systemd can be started here, or nothing."""
    if os.geteuid() != 0:
        return "a systemd of its own needs root"
    if SYSTEMD is None:
        return "systemd is not installed (Debian: apt-get install systemd)"
    for tool in TOOLS:
        if not shutil.which(tool):
            return f"'{tool}' is not installed (Debian: apt-get install acl iproute2 passwd)"
    return ""


class Booted:
    """The host; use as a context manager.

    Attributes:
        root: a folder that the host sees as well, in no home and in no folder for scratch, for
            services see nothing of these.
        python: an environment that all its users can run.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="fpc-", dir="/srv"))
        self.root.chmod(0o755)
        self.python = Python(self.root)
        self._first = 0
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Booted:
        (self.root / "bare.target").write_text(TARGET)
        base = (self.python.folder / "bin" / "python").readlink().parents[1]
        told = f"[Manager]\nDefaultEnvironment=LD_LIBRARY_PATH={base / 'lib'}\n"
        (self.root / "python.conf").write_text(told)  # its library, where services see no home
        (self.root / "stage").mkdir()
        text = BOOT.format(
            devices=" ".join(DEVICES),
            masked=" ".join([*(f"{one}.service" for one in SERVICES), *MOUNTS]),
            mounts="\n".join(self.python.mounts()),
            systemd=SYSTEMD,
        )
        spaces = ("--mount", "--pid", "--fork", "--ipc", "--uts", "--cgroup", "--net")
        with (self.root / "boot.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *spaces, "--kill-child", "sh", "-euc", text],
                env={**os.environ, "stage": str(self.root / "stage"), "given": str(self.root)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            at = self._process.pid
            children = Path(f"/proc/{at}/task/{at}/children").read_text().split()
            self._first = int(children[0]) if children else 0
            if self._first and self.run("systemctl is-system-running", check=False) == "running":
                return self
            time.sleep(0.5)
        told = self.run("systemctl --failed", check=False) if self._first else ""
        told += (self.root / "boot.log").read_text()
        self.__exit__()
        raise AssertionError(f"systemd did not come up: {told}")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()  # its child, the host's first process, goes with it, and all below
            self._process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def prefix(self) -> Sequence[str]:
        """The words before a command that is executed there."""
        return ("nsenter", "-t", str(self._first), "-m", "-p", "-i", "-u", "-C", "-n")

    def run(self, text: str, *, check: bool = True, seconds: float = 600) -> str:
        """Execute shell lines as the host's root, in `root`; what they print."""
        done = subprocess.run(
            [*self.prefix(), "sh", "-euc", f"cd {self.root}\n{text}"],
            env={
                "PATH": f"{self.python.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": str(self.root),
                "FLWR_HOME": str(self.root / "flwr"),
                "FEDPATCHCORE_HOME": str(self.root / "cache"),
                "FLWR_TELEMETRY_ENABLED": "0",
                "FLWR_DISABLE_UPDATE_CHECK": "1",
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "160",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{text}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        return (done.stdout + done.stderr).strip()
