"""A node's own executor: it works with the app that is installed, and loads nothing submitted.

    python -m client_app.executor --runtime HOST:PORT --secret FILE

``flower-supernode --isolation process`` hands its messages to whoever asks with the secret: here,
not to Flower's executor, which would unpack the run's bundle and load it. Each message gets a
process of its own, as there, but a fork of this one, which has Flower loaded already
(`client_app.forking`). That process compares the bundle with the installed apps
(`client_app.bundle`); if it is the same, the installed one does the work, otherwise the answer
says what differs.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Sequence
from logging import ERROR
from pathlib import Path

import httpx
from flwr.app import Context, Message
from flwr.common.constant import SubStatus
from flwr.common.logger import log
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from client_app.bundle import difference
from client_app.forking import ended, forked

__all__ = ["answered", "main"]

POLL = 0.5
ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
VERBS = {"query": "facts", "train": "train", "train.sums": "sums", "evaluate": "evaluate"}
VERBS |= {"query.tune": "tune"}


def answered(message: Message, context: Context, bundle: bytes) -> Message:
    """The site's answer: the installed app's, or why the submitted one is not run."""
    from client_app.app import refusal

    if reason := difference(bundle):
        return refusal(reason, message, context)
    verb = VERBS.get(message.metadata.message_type)
    if verb is None:
        return refusal("a message of a kind that no site answers", message, context)
    from client_app.work import answer

    return answer(verb, message, context)


def serve(runtime: str, secret: bytes) -> None:
    """Hand each message of the node to a process of its own, for as long as this one lives."""
    known = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={ACQUIRE})
    client = _client(runtime, "SuperExec", known)
    gc.collect()
    gc.freeze()  # a collection in a fork would write to every page that both share
    running: list[int] = []
    refused = False
    while True:
        running = [one for one in running if not ended(one)]
        try:
            told = client.AcquireTask(
                AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
            )
            refused = False
            if told.HasField("task") and told.token:
                running.append(_start(runtime, told.token))
                continue
        except httpx.HTTPStatusError as error:
            if not refused:
                log(ERROR, "the node does not hand out its messages: %s", error)
            refused = True
        except (httpx.HTTPError, ValueError):
            pass  # the node starts, or starts again
        time.sleep(POLL)


def _client(runtime: str, name: str, known: object, **more: object) -> RuntimeHttpClient:
    """Speaks to the node on this machine, as Flower's program ``name`` would."""
    return RuntimeHttpClient.from_server_address(
        runtime,
        insecure=True,
        root_certificates=None,
        interceptors=[RuntimeVersionHttpInterceptor(component_name=name), known],
        **more,
    )


def _start(runtime: str, token: str) -> int:
    """Start the process of one message."""
    parent = os.getpid()

    def done() -> int:
        from client_app import executor  # what is installed now, which may be of a newer version

        start_parent_process_monitor(parent)
        return executor.work(runtime, token)

    return forked(done)


def work(runtime: str, token: str) -> int:
    """Answer one message of the node; the exit code of the process."""
    known, again = RuntimeTokenHttpInterceptor(token), make_simple_http_retry_invoker()
    client = _client(runtime, "flwr-clientapp", known, retry_invoker=again)
    alive = HeartbeatSender(make_task_heartbeat_fn_http(client))
    alive.start()
    context = None
    try:
        message, context, _, bundle = pull_task_input(client)
        push_message(client, answered(message, context, bundle.content), context)
        push_task_output(client, context, SubStatus.COMPLETED, "")
    except Exception as error:
        log(ERROR, "the message was not answered", exc_info=True)
        push_task_output(client, context, SubStatus.FAILED, f"{type(error).__name__}: {error}")
        return 1
    finally:
        if alive.is_running:
            alive.stop()
        client.close()
    return 0


def main(words: Sequence[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m client_app.executor", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--runtime", required=True, metavar="HOST:PORT")
    parser.add_argument(
        "--secret", type=Path, required=True, help="file that flower-supernode was given as well"
    )
    told = parser.parse_args(words)
    serve(told.runtime, told.secret.read_bytes())


if __name__ == "__main__":
    main()
