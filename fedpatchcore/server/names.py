"""Whose name is whose: one site, one key, for the whole run and over ``resume``.

A SuperLink knows each node by the public key it proves to hold, and by the name an operator
registered that key under (``flwr supernode register KEY.pub --name SITE``). A node's number stays
while its registration does, but neither outlives a SuperLink's database: the key does. So a name is
bound to a key; where Flower tells none (a simulation) the caller binds it to the node alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.errors import QuorumError

__all__ = ["Key", "Names"]

REGISTER = "flwr supernode register KEY.pub --name"


@dataclass(frozen=True)
class Key:
    """What the SuperLink knows of a node.

    Attributes:
        digest: SHA-256 of its public key, hexadecimal; "" if there is none.
        name: that an operator registered it under; "" if none: whoever starts a node without a
            registered key brings a new one each time.
    """

    digest: str = ""
    name: str = ""

    @classmethod
    def of(cls, public_key: bytes, name: str = "") -> Key:
        """From what Flower tells."""
        return cls(hashlib.sha256(public_key).hexdigest() if public_key else "", name)


class Names:
    """The keys that have spoken for each site.

    Args:
        strict: of a robust run, in which a second voice is a second vote: a key that is registered
            under a name speaks for that site alone.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._holders: dict[str, Key] = {}

    def check(self, site: str, key: Key, registered: Mapping[str, Key]) -> None:
        """Raise QuorumError, naming the fix, unless this key may speak for ``site``.

        Args:
            registered: keys of the nodes that are online, by the name they are registered under.
        """
        if self.strict and key.name and key.name != site:
            raise QuorumError(
                f"its key is registered as '{key.name}' and it calls itself '{site}': give it "
                f"site='{key.name}', or register its key anew ({REGISTER} {site})"
            )
        if key.name == site:  # the operator's word
            return
        holder = self._holders.get(site, Key())
        rightful = registered.get(site) or (holder if holder.name else None)
        if rightful is not None and rightful.digest != key.digest:
            raise QuorumError(
                f"the name '{site}' is another key's: give this node a site='...' of its own, or "
                f"register its key under that name ({REGISTER} {site})"
            )
        before = self._spoke_for(key)
        if self.strict and before not in ("", site):
            raise QuorumError(f"the key of site '{before}' now calls itself '{site}'")

    def bind(self, site: str, key: Key) -> bool:
        """Note who speaks for a site; whether that is another than before, by the operator's word.

        What the former one sent is then not the site's.
        """
        before = self._holders.get(site)
        if key.digest:
            self._holders[site] = key
        if before is None or before.name == site:  # nobody, or the operator's word as well
            return False
        return before.digest != key.digest and key.name == site

    def keeps(self, site: str, key: Key) -> bool:
        """Whether this is the very key that has spoken for the site, or the operator says so."""
        holder = self._holders.get(site)
        same = holder is not None and bool(key.digest) and holder.digest == key.digest
        return same or key.name == site

    def told(self) -> dict[str, dict[str, str]]:
        """As a checkpoint keeps it."""
        return {s: {"key": k.digest, "name": k.name} for s, k in sorted(self._holders.items())}

    def restore(self, told: Any) -> None:
        """Inverse of `told`; of an older checkpoint, which has none, nothing is known."""
        for site, one in (told or {}).items():
            self._holders[site] = Key(str(one["key"]), str(one["name"]))

    def _spoke_for(self, key: Key) -> str:
        same = (s for s, one in self._holders.items() if key.digest and one.digest == key.digest)
        return next(same, "")
