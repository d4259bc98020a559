"""What does round 2 send when every site's folder has grown, as a delta and in full?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import extractor, keep, products, show, squeezenet
from federation import SHIP, SIZE

from fedpatchcore.data.partition import partition
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.site import Site
from fedpatchcore.wire.delta import Broadcast
from fedpatchcore.wire.held import HeldBank
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.train import unpack_train


def rounds(wires: tuple[str, ...], share: float, names: tuple[str, ...]) -> None:
    """Bytes of every message of two rounds, the folder growing from ``share`` to all."""
    rows = []
    for name in names:
        for wire in wires:
            rows += _grow(name, wire, share)
            show(f"from {share:.0%} of the images to all", rows)
            keep("wire_rounds", rows)


def _grow(name: str, wire: str, share: float) -> list[dict[str, Any]]:
    config = squeezenet(
        coreset_size=SHIP, global_bank_size=SIZE, holdout=0.0, compare_local=False, wire=wire
    )
    tool = extractor(config)
    parts = partition(products(name), "iid", sites=5, seed=0)
    federation, broadcast = Federation(config), Broadcast(wire)
    rows, sent = [], {}
    with tempfile.TemporaryDirectory() as folder:
        held = HeldBank(SiteCache(Path(folder), 1.0), "site")

        def deliver(what: str) -> None:
            packet = broadcast.packet(federation.bank, holds=held.digest)
            sent[what] = packet.nbytes, broadcast.packet(federation.bank).nbytes
            held.receive(packet)

        for number, part in enumerate((share, 1.0), start=1):
            if number > 1:
                deliver("train 2")
            sent[f"train {number}, up, all sites"] = (0, 0)
            for site in _cut(parts, name, part, config, tool, wire):
                seen = unpack_train(pack(site.train(federation.bank), wire=wire))
                federation.accept(seen)
                up = sent[f"train {number}, up, all sites"]
                more = seen.wire_bytes, seen.nbytes
                sent[f"train {number}, up, all sites"] = up[0] + more[0], up[1] + more[1]
            federation.bank = broadcast.publish(federation.merge(number))
            deliver(f"evaluate {number}")
            federation.close(number)
    bank = federation.bank.nbytes
    for what, (delta, full) in sent.items():
        plain = full if "up" in what else bank
        rows.append(
            {
                "product": name,
                "wire": wire,
                "message": what,
                "KB as float32": f"{plain / 1e3:.0f}",
                "KB without delta": "" if "up" in what else f"{full / 1e3:.0f}",
                "KB sent": f"{delta / 1e3:.1f}",
                "of float32": f"{delta / max(plain, 1):.1%}",
            }
        )
    return rows


def _cut(parts: dict, name: str, share: float, config: Any, tool: Any, wire: str) -> list[Site]:
    """The sites with this share of their images; they remember what they sent, by wire."""

    def key(site: str) -> Callable[[str], str]:
        return lambda section: f"{'e' * 40}wire-{wire}-{site}-{section}"

    opened = []
    for site_name, own in parts.items():
        train = own[name].train[: round(share * len(own[name].train))]
        cut = {name: replace(own[name], train=train)}
        site = Site(site_name, cut, config, tool.backbone, cache=tool.cache)
        site.represented.key = key(site_name)
        opened.append(site)
    return opened
