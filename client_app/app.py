"""The ClientApp, as Flower finds it: sees that the library installed here fits, then works.

The app comes from whoever started the run, the library from this site's own installation. So
nothing of the library is taken for granted here: what does not fit is answered, with the site's
name, and not left to Flower as an app that cannot be loaded.
"""

from __future__ import annotations

import os
from logging import ERROR
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.logger import log

__all__ = ["app", "refusal"]

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Site facts: products, image counts, device, fingerprint."""
    return _answer("facts", message, context)


@app.query("tune")
def tune(message: Message, context: Context) -> Message:
    """Try candidates on this site's images; figures alone leave."""
    return _answer("tune", message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Extract, select, ship what the bank lacks."""
    return _answer("train", message, context)


@app.train("sums")
def sums(message: Message, context: Context) -> Message:
    """One exchange of a secure sum."""
    return _answer("sums", message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score this site's images with the global bank; pictures stay here."""
    return _answer("evaluate", message, context)


def _answer(verb: str, message: Message, context: Context) -> Message:
    if reason := _misfit():
        return refusal(reason, message, context)
    from client_app.work import answer

    return answer(verb, message, context)


def _misfit() -> str:
    """Why this app cannot work with the library installed here; "" if it can."""
    try:
        from fedpatchcore.version import misfit

        if reason := misfit(Path(__file__).parents[1]):
            return reason
        import client_app.work  # noqa: F401
    except ImportError as error:
        return (
            f"the FedPatchCore installed here is missing, damaged or older than this run's app "
            f"({error}): pip install --upgrade fedpatchcore"
        )
    return ""


def refusal(reason: str, message: Message, context: Context) -> Message:
    """The packet of a failure, as `fedpatchcore.wire.packet.pack_failure` makes it."""
    told = context.node_config.get("site") or os.environ.get("FEDPATCHCORE_SITE")
    site = str(told or f"node {context.node_id}")
    log(ERROR, "[%s] %s", site, reason)
    texts = ConfigRecord({"site": site, "failure": " ".join(reason.split())})
    records = {"arrays": ArrayRecord(), "numbers": MetricRecord(), "texts": texts}
    return Message(content=RecordDict(records), reply_to=message)
