"""The answer to the roll call ↔ a packet: who a site is and what it has."""

from __future__ import annotations

from fedpatchcore.errors import CoresetError
from fedpatchcore.wire.messages import SiteFacts
from fedpatchcore.wire.packet import Packet, names_told, raise_failure

__all__ = ["pack_facts", "unpack_facts"]


def pack_facts(facts: SiteFacts) -> Packet:
    """What a site says of itself as a packet."""
    return Packet(
        numbers={
            "train_images": list(facts.train_images),
            "test_images": list(facts.test_images),
            "simulated": [int(facts.simulated)],
        },
        texts={
            "site": facts.site,
            "products": list(facts.products),
            "device": facts.device,
            "fingerprint": facts.fingerprint,
            "version": facts.version,
        },
    )


def unpack_facts(packet: Packet) -> SiteFacts:
    """Inverse of `pack_facts`. Raises SiteFailure or CoresetError."""
    raise_failure(packet)
    try:
        return SiteFacts(
            str(packet.texts["site"]),
            tuple(names_told(packet.texts["products"])),
            tuple(packet.numbers["train_images"]),
            tuple(packet.numbers["test_images"]),
            str(packet.texts["device"]),
            str(packet.texts["fingerprint"]),
            str(packet.texts["version"]),
            bool(packet.numbers["simulated"][0]),
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise CoresetError(f"a query reply that cannot be read ({error!r})") from None
