"""Flower's SuperExec of a site's node, with Flower loaded once for all messages.

    python -m client_app.executor ...      in place of: flower-superexec ...

``flower-superexec`` starts a program for each message, which imports Flower anew: seconds and some
90 MB each time. Here the program is this process's fork: all that is Flower's is there and shared,
and nothing is left in it of the message before. Of FedPatchCore nothing is loaded before the fork,
so that a message finds the installation as it is now.

It puts together parts of Flower 1.41, the version that pyproject.toml asks for.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from types import ModuleType

from flwr.supercore.superexec import run_superexec as superexec
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult

__all__ = ["Forking", "main"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


class Forking(SubprocessExecutor):
    """Runs ClientApps as forks of this process, and every other task as Flower does."""

    def __init__(self) -> None:
        self._running: set[int] = set()

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start the process of one task; returns at once."""
        if spec.task_type != "flwr-clientapp":
            return super().launch(spec)
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():  # of the one thread beside, which watches the parent
            warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on
            process = os.fork()
        if process:
            self._running.add(process)
            return LaunchResult.accepted()
        code = 1
        try:
            _as_started_anew()
            code = _work(spec)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)  # nothing of the parent's is closed or said twice

    def reconcile(self) -> None:
        """Called before each look for work: those that ended are let go of."""
        self._running = {one for one in self._running if not _ended(one)}


def _ended(process: int) -> bool:
    try:
        return os.waitpid(process, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _as_started_anew() -> None:
    """Forget, after the fork, what belongs to the parent alone."""
    from flwr.supercore.exit import exit_handler

    for kind in SIGNALS:
        signal.signal(kind, signal.SIG_DFL)
    exit_handler.registered_exit_handlers.clear()
    for name in [one for one in sys.modules if one.partition(".")[0] == "client_app"]:
        del sys.modules[name]  # the app is the run's own, which may be of another version
    sys.argv = ["flwr-clientapp"]


def _work(spec: ExecutionSpec) -> int:
    """What the program ``flwr-clientapp`` does; its exit code."""
    from flwr.supercore.tls import validate_and_resolve_root_certificates
    from flwr.supernode.runtime.run_clientapp import run_clientapp

    try:
        run_clientapp(
            runtime_api_address=spec.runtime_api_address,
            token=spec.token,
            insecure=spec.insecure,
            certificates=validate_and_resolve_root_certificates(
                spec.root_certificates_path, spec.insecure
            ),
            parent_pid=spec.parent_pid,
            runtime_dependency_install=spec.runtime_dependency_install,
        )
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _without_siblings() -> None:
    """Let ``flwr.supercore.cli`` be its one module that is needed; the rest brings 30 MB along."""
    import flwr.supercore

    package = ModuleType("flwr.supercore.cli")
    package.__path__ = [os.path.join(one, "cli") for one in flwr.supercore.__path__]
    sys.modules.setdefault(package.__name__, package)


def main() -> None:
    """Command line: that of ``flower-superexec``."""
    _without_siblings()
    from flwr.supercore.cli.flower_superexec import flower_superexec
    from flwr.supernode.runtime import run_clientapp  # noqa: F401  loaded for all forks

    given = superexec.get_executor

    def executor(kind: str, **told: object) -> object:
        return Forking() if kind == "subprocess" else given(kind, **told)

    superexec.get_executor = executor
    gc.collect()
    gc.freeze()  # a collection in a fork would write to every page that both share
    sys.argv[0] = "flower-superexec"
    flower_superexec()


if __name__ == "__main__":
    main()
