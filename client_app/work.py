"""What the ClientApp does: carries packets between Flower's messages and the site's work.

Where the site has a worker, the work is done there: this process never sees an image, and loads
nothing that computes.
"""

from __future__ import annotations

import time
from logging import ERROR, INFO
from pathlib import Path

from flwr.app import Context, Message
from flwr.common.logger import FLOWER_LOGGER, log

from client_app.records import from_records, to_records
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.observe.logs import guard, use_json
from fedpatchcore.service.request import Request
from fedpatchcore.wire.packet import Packet, pack_failure

__all__ = ["answer"]


def answer(verb: str, message: Message, context: Context) -> Message:
    """The site's answer; whatever goes wrong becomes one that says so, with the site's name."""
    use_json(FLOWER_LOGGER)
    guard(FLOWER_LOGGER)
    name = str(context.node_config.get("site", "")) or f"node {context.node_id}"
    try:
        node = NodeConfig.from_node(context.node_config)
        name = node.site or name
        request = Request(
            verb,
            dict(context.run_config),
            from_records(message.content, copy=not node.worker),  # passed on as it is
            run=str(context.run_id),
            traceparent=str((message.content.get("trace") or {}).get("traceparent", "")),
        )
        packet = _carried(node, request, name, message)
    except Exception as error:
        log(ERROR, "[%s] %s", name, error, exc_info=not isinstance(error, FedPatchCoreError))
        packet = pack_failure(name, error)
    return Message(content=to_records(packet), reply_to=message)


def _carried(node: NodeConfig, request: Request, name: str, message: Message) -> Packet:
    if not node.worker:
        from fedpatchcore.service.site_service import SiteService

        return SiteService(node, name=name, log=FLOWER_LOGGER).answer(request)
    from fedpatchcore.service.link import Link
    from fedpatchcore.site.eligible import require_now

    require_now(node, request.verb)  # what a worker without a network cannot see
    told = message.metadata
    link = Link(
        Path(node.worker).expanduser(),
        patience=RunConfig.parse(request.settings, where="run-config").rejoin_seconds,
        seconds=max(0.0, told.created_at + told.ttl - time.time()),
        say=lambda line: log(INFO, "[%s] %s", name, line),
    )
    return link.answer(request)
