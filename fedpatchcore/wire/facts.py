"""The answer to the roll call ↔ a packet: who a site is and what it has."""

from __future__ import annotations

from fedpatchcore.texts import one_line
from fedpatchcore.wire.bounds import (
    FINGERPRINT,
    IMAGES,
    SECONDS,
    is_count,
    is_figure,
    is_share,
)
from fedpatchcore.wire.messages import SiteFacts
from fedpatchcore.wire.packet import (
    Packet,
    check_texts,
    names_told,
    raise_failure,
    site_told,
    unreadable,
)

__all__ = ["pack_facts", "unpack_facts"]

COUNTS = ("train_images", "test_images")
DEVICE = 100  # characters of a device's name, or of a version


def pack_facts(facts: SiteFacts) -> Packet:
    """What a site says of itself as a packet."""
    return Packet(
        numbers={
            "train_images": list(facts.train_images),
            "test_images": list(facts.test_images),
            "simulated": [int(facts.simulated)],
            "seen": list(facts.seen),
            "seconds": [facts.seconds],
            "features": [facts.features, facts.held],
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
        check_texts(packet)
        products = names_told(packet, "products")
        counts = {key: _counts(packet, key, len(products)) for key in COUNTS}
        fingerprint, told = packet.texts["fingerprint"], packet.numbers["simulated"]
        if not isinstance(fingerprint, str) or len(fingerprint) > FINGERPRINT:
            raise ValueError("a fingerprint that is none")
        return SiteFacts(
            site_told(packet),
            tuple(products),
            *counts.values(),
            one_line(packet.texts["device"], DEVICE),
            fingerprint,
            one_line(packet.texts["version"], DEVICE),
            bool(told[0]),
            *_eyes(packet, len(products)),
        )
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise unreadable("a query reply", error) from None


def _counts(packet: Packet, key: str, products: int) -> tuple[int, ...]:
    """Images by product. Raises KeyError, TypeError, ValueError."""
    found = packet.numbers[key]
    if len(found) != products or not all(is_count(count, IMAGES) for count in found):
        raise ValueError(f"'{key}' is {one_line(repr(found), 60)} of {products:,} products")
    return tuple(found)


def _eyes(packet: Packet, products: int) -> tuple[tuple[float, ...], float, int, int]:
    """What is seen, and what that takes. Raises KeyError, TypeError, ValueError."""
    seen, features = packet.numbers["seen"], packet.numbers["features"]
    (seconds,) = packet.numbers["seconds"]
    if len(seen) not in (0, products) or not all(map(is_share, seen)):
        raise ValueError(f"'seen' is {one_line(repr(seen), 60)} of {products:,} products")
    if not is_figure(seconds, SECONDS) or len(features) != 2 or not all(map(is_count, features)):
        raise ValueError("seconds or bytes of features that are none")
    return tuple(map(float, seen)), float(seconds), *features
