"""A site from its worker's side: its file, its user, its network, and who else reads the images."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpatchcore.config import RunConfig
from fedpatchcore.deploy.doctor.checks import (
    INSTALL,
    Check,
    Checks,
    Skip,
    existing,
    fail,
    libraries,
    ok,
    python,
    warn,
)
from fedpatchcore.deploy.doctor.site import SiteDoctor
from fedpatchcore.deploy.doctor.users import allowed, ways_out
from fedpatchcore.deploy.doctor.worker import SEPARATE
from fedpatchcore.deploy.own_worker import ONE_USER
from fedpatchcore.errors import WorkerAway, WorkerError
from fedpatchcore.service.caller import user_name
from fedpatchcore.service.link import Link
from fedpatchcore.worker.settings import WorkerConfig, read_worker_config

__all__ = ["WorkerDoctor"]

SAMPLED = 20  # images that teach, and as many that test, are tried as another user


class WorkerDoctor:
    """The checks of one worker.

    Args:
        config: a run's settings, as far as they concern a site.
        file: the worker's.
    """

    def __init__(self, config: RunConfig, file: Path) -> None:
        self.config = config
        self.file = file.expanduser().absolute()
        self._words: WorkerConfig | None = None
        self._site: SiteDoctor | None = None
        self._told: Mapping[str, Any] = {}

    def run(self, checks: Checks) -> None:
        """Make all checks in order; without a file that can be read there is little to look at."""
        checks.run("Python", python, fix=INSTALL)
        checks.run("libraries", libraries, fix=INSTALL)
        told = checks.run("worker's file", self.settings, fix="correct this line of the file")
        if self._words is None or self._site is None:
            return
        if told.state != "fail":
            checks.run("its permissions", self.permissions)
        checks.run("worker", self.answers, seconds=20)
        checks.run("network", self.network)
        self._site.machine(checks)
        checks.run("worker's user", self.own_user)
        checks.run("other users", self.other_users)

    def settings(self) -> Check:
        """The file says who this is and what is allowed, and every user in it is known here."""
        words = read_worker_config(self.file)
        words.user_ids()
        self._words = words
        self._site = SiteDoctor(self.config, words.node())
        return ok(f"{self.file}: site {words.site}, socket {words.socket_path()}")

    def permissions(self) -> Check:
        """Nobody but root and the worker's user can write it, nor put another in its place."""
        open_to = [
            path
            for path in (self.file.resolve(), *self.file.resolve().parents)
            if (mode := path.stat().st_mode) & 0o022
            and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)
        ]
        if open_to:
            return fail(
                f"others can write {open_to[0]}, and so what this site allows",
                f"chmod go-w {open_to[0]}",
            )
        owner = self.file.stat().st_uid
        if owner in self._words.user_ids() - {0, os.geteuid()}:
            return fail(
                f"{self.file} belongs to {user_name(owner)}, which is a user of the node",
                f"chown root {self.file}",
            )
        return ok(f"written by {user_name(owner)} alone")

    def answers(self) -> Check:
        """It is running, and not as root."""
        path = self._words.socket_path()
        try:
            self._told = Link(path).health()
        except WorkerAway as error:
            return warn(f"it is not running ({error})", f"fedpatchcore worker run {self.file}")
        except WorkerError as error:
            return fail(str(error), "run this command as root, or as the worker's user")
        if self._told["site"] != self._words.site:
            return fail(
                f"{path} is the worker of site '{self._told['site']}'",
                "start it again: it was started with another file",
            )
        uid = int(self._told["uid"])
        if uid == 0:
            return warn("it runs as root, which it needs for nothing", SEPARATE)
        return ok(f"user {user_name(uid)}, process {self._told['process']}, {self._told['state']}")

    def network(self) -> Check:
        """The running worker has no way out."""
        if not self._told:
            raise Skip("the worker is not running; what counts is what it sees then")
        if not (pid := int(self._told["pid"])):
            raise Skip(
                "the worker's process cannot be seen from here (a container?): run this there"
            )
        if found := ways_out(pid):
            return warn(
                f"the worker can reach a network by {', '.join(found)}; it needs none",
                SEPARATE + ", and a container has network_mode: none",
            )
        return ok("none but its own loopback")

    def own_user(self) -> Check:
        """The worker's user reads the images and writes its folders."""
        uid = self._user()
        images, folders = self._images(), self._site.folders
        if blind := [path for path in images if path not in allowed(uid, images)]:
            return fail(
                f"user {user_name(uid)} cannot read {blind[0]}",
                f"setfacl -R -m u:{user_name(uid)}:rX {self._data()}; every folder above it must "
                "let that user through (x)",
            )
        places = {what: existing(folder) for what, folder in folders.items()}
        writes = allowed(uid, places.values(), "w")
        if wrong := [what for what, place in places.items() if place not in writes]:
            return fail(
                f"user {user_name(uid)} cannot write its {wrong[0]}: {folders[wrong[0]]}",
                f"mkdir -p {folders[wrong[0]]} && chown {user_name(uid)} {folders[wrong[0]]}; was "
                "--state given as the worker has it?",
            )
        return ok(f"{user_name(uid)} reads the images and writes its own folders")

    def other_users(self) -> Check:
        """The users of the node can't read what the worker owns."""
        mine = self._user()
        asking = self._words.user_ids()
        if not asking - {0, mine}:
            return warn(f"no other user may ask this worker (users): {ONE_USER}", SEPARATE)
        for uid in sorted(asking - {0, mine}):
            owned = self._owned()
            if seen := allowed(uid, owned):
                first = next(path for path in owned if path in seen)
                return fail(
                    f"user {user_name(uid)}, which has the network, can read {first}: so could a "
                    "run's app, which comes from the server",
                    f"chmod -R o-rwx {first}; or is it in a group that may? (id {user_name(uid)})",
                )
        names = ", ".join(user_name(uid) for uid in sorted(asking - {0, mine}))
        told = f"images, ledger and settings are closed to {names}"
        return ok(told if os.geteuid() == 0 else f"{told}, as far as permissions tell")

    def _owned(self) -> list[Path]:
        """What is this site's alone, also where a link leads to: a link hides nothing there."""
        key = [Path(self._words.sums_key)] if self._words.sums_key else []
        named = [*self._images(), self.file, *self._site.folders.values(), *key]
        paths = [path.expanduser().absolute() for path in named]
        return list(dict.fromkeys(one for path in paths for one in (path, path.resolve())))

    def _user(self) -> int:
        """Of the running worker; this process's, where it is not root."""
        if self._told:
            return int(self._told["uid"])
        if os.geteuid() == 0:
            raise Skip("the worker is not running: start it, or run this as its user")
        return os.geteuid()

    def _data(self) -> Path:
        return Path(self._words.data).expanduser().absolute()

    def _images(self) -> list[Path]:
        """The folder and some images of each product."""
        products = list(self._site.data.products.values())
        each = max(1, SAMPLED // max(1, len(products)))
        found = [
            path
            for product in products
            for path in (*product.train[:each], *(one.path for one in product.test[:each]))
        ]
        return [self._data(), *(path.absolute() for path in found)]
