"""The worker as the node sees it: does it answer, and are images and network kept apart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.doctor.checks import Check, Checks, Skip, fail, ok, warn
from fedpatchcore.deploy.own_worker import ONE_USER
from fedpatchcore.errors import WorkerAway, WorkerError
from fedpatchcore.service.caller import user_name
from fedpatchcore.service.link import Link
from fedpatchcore.version import VERSION, differ

__all__ = ["SEPARATE", "WorkerChecks"]

SEPARATE = "fedpatchcore worker units makes two users and services (docs/deployment.md, step 4)"


class WorkerChecks:
    """The worker that a node names.

    Args:
        data: the folder of images, where the node's side is told it to see that it is closed.

    Attributes:
        named: whether the node names a worker.
    """

    def __init__(self, node: NodeConfig, data: Path | None = None) -> None:
        self.named = bool(node.worker)
        self._node = node
        self._data = data
        self._told: Mapping[str, Any] = {}

    def run(self, checks: Checks) -> None:
        """Look at it anew, in order."""
        checks.run("worker", self.answers, seconds=20)
        checks.run("two users", self.apart)
        if self._data is not None:
            checks.run("images", self.closed)

    def answers(self) -> Check:
        """It answers, serves this user, is this site's and of a version that fits."""
        path = Path(self._node.worker).expanduser()
        self._told = {}
        try:
            told = Link(path).health()
        except WorkerAway as error:
            return warn(f"it does not answer ({error})", "fedpatchcore worker run FILE")
        except WorkerError as error:
            return fail(str(error), "correct the worker's file and start it again")
        self._told = told
        if told["site"] != self._node.site:
            return fail(
                f"{path} is the worker of site '{told['site']}', this node is '{self._node.site}'",
                "give both one name",
            )
        if differ(str(told["version"]), VERSION):
            return warn(
                f"it is of FedPatchCore {told['version']}, this node of {VERSION}",
                "install the same version for both",
            )
        return ok(f"{path}: {told['state']}, {told['waiting']} of {told['queue']} waiting")

    def apart(self) -> Check:
        """The worker is another user than the one that runs this."""
        if not self.named:  # the node's config names the images themselves
            return warn(ONE_USER, SEPARATE)
        if not self._told:
            raise Skip("the worker does not answer")
        theirs, mine = int(self._told["uid"]), os.geteuid()
        if theirs == mine:
            return warn(ONE_USER, SEPARATE)
        if theirs == 0:
            return warn("the worker runs as root, which it needs for nothing", SEPARATE)
        if mine == 0:
            return warn(
                "this is root, which can read everything, the worker's images too",
                "run the node, and this command, as the node's own user: runuser -u USER -- ...",
            )
        return ok(f"the worker is {user_name(theirs)}, this is {user_name(mine)}")

    def closed(self) -> Check:
        """This user can't read the folder of images."""
        folder = Path(self._data or ".").expanduser().absolute()
        me = user_name(os.geteuid())
        if os.geteuid() == 0:
            raise Skip("root reads every folder: run this command as the node's user")
        try:
            folder.stat()
        except PermissionError:
            pass  # a folder above it is closed already
        except OSError as error:
            return warn(f"{folder}: {error.strerror}", "give the folder of images (--images)")
        ways = {"read": os.R_OK, "enter": os.X_OK}  # who enters reads by name what is open below
        if can := " and ".join(word for word, how in ways.items() if os.access(folder, how)):
            return fail(
                f"user {me} can {can} {folder}: so could a run's app, which comes from the server",
                f"as its owner: chmod o-rwx {folder}; is {me} in a group that may read it? (id)",
            )
        return ok(f"{folder} is closed to user {me}")
