"""The last evaluation in memory: the same bank on the same images is not scored again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.data.content import content_hash
from fedpatchcore.errors import ImageError
from fedpatchcore.files import checksum
from fedpatchcore.service.request import Request
from fedpatchcore.site.site import Site
from fedpatchcore.wire.messages import EvaluateReply

__all__ = ["LastEvaluation"]

# of a bank's header: the round, and what earlier evaluations found
ROUNDS = ("round", "thresholds", "vote_thresholds", "calibration", "hybrid", "planted")


class LastEvaluation:
    """One reply, and all that it depends on: run, settings, bank, every image and mask."""

    def __init__(self) -> None:
        self._key = ""
        self._reply: EvaluateReply | None = None

    def of(
        self, site: Site, bank: MemoryBank, request: Request, anew: Callable[[], EvaluateReply]
    ) -> EvaluateReply:
        """The reply, computed anew unless nothing has changed since."""
        started = time.perf_counter()
        key = _key(site, bank, request)
        if self._reply is None or key != self._key:
            self._reply, self._key = None, ""
            reply = anew()
            self._reply, self._key = reply, key
            return reply
        site.say("same bank, same images: figures as before")
        seconds = time.perf_counter() - started if self._reply.seconds else 0.0
        return replace(self._reply, seconds=seconds)


def _key(site: Site, bank: MemoryBank, request: Request) -> str:
    header = {key: value for key, value in bank.header().items() if key not in ROUNDS}
    asked = [request.run, request.run_name, request.run_folder, dict(request.settings), header]
    told = hashlib.sha256(checksum(json.dumps(asked, sort_keys=True), bank.arrays()).encode())
    for name, product in site.products.items():
        told.update(f"\n{name} {site.excluded.get(name, 0)} {product.saturation!r}".encode())
        for path in product.train:
            told.update(_image(site, path))
        for one in product.test:
            told.update(_image(site, one.path) + one.label.encode())
            told.update(b"".join(_image(site, mask) for mask in one.masks))
    return told.hexdigest()


def _image(site: Site, path: Path) -> bytes:
    try:
        content = content_hash(path)
    except ImageError as error:
        content = str(error)
    return f"\n{path} {content} {site.grouping.named.get(path, '')} ".encode()
