"""The worker as the node sees it."""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.doctor.checks import Check, fail, ok, warn
from fedpatchcore.errors import WorkerAway, WorkerError
from fedpatchcore.service.link import Link
from fedpatchcore.version import VERSION, differ

__all__ = ["WorkerChecks"]


class WorkerChecks:
    """The worker that a node names.

    Attributes:
        named: whether it names one.
    """

    def __init__(self, node: NodeConfig) -> None:
        self.named = bool(node.worker)
        self._node = node

    def answers(self) -> Check:
        """It answers, serves this user, is this site's and of a version that fits."""
        path = Path(self._node.worker).expanduser()
        try:
            told = Link(path).health()
        except WorkerAway as error:
            return warn(f"it does not answer ({error})", "fedpatchcore worker run FILE")
        except WorkerError as error:
            return fail(str(error), "correct the worker's file and start it again")
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
