"""Nodes by the names of their sites: one node a name, one name a node, by their keys."""

from __future__ import annotations

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import QuorumError
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.names import Key
from fedpatchcore.wire.messages import SiteFacts

__all__ = ["Nodes"]


class Nodes:
    """What nodes said of themselves, and whose names they may bear.

    Whoever carries messages derives from it, and says in ``without`` what comes of a node that is
    turned away.
    """

    def __init__(self, config: RunConfig, federation: Federation) -> None:
        self.config = config
        self.federation = federation
        self._names: dict[int, str] = {}
        self._facts: dict[int, SiteFacts] = {}
        self._keys: dict[int, Key] = {}
        self._registered: dict[str, Key] = {}

    def without(self, node: int, reason: str, *, gone: bool = True, site: str = "") -> None:
        """A node takes no part."""
        raise NotImplementedError

    @property
    def here(self) -> dict[str, int]:
        """Nodes that take part, by site, in the order of the sites."""
        return dict(sorted((facts.site, node) for node, facts in self._facts.items()))

    def name(self, node: int) -> str:
        """The site that a node called itself."""
        return self._names.get(node, f"node {node}")

    @staticmethod
    def same_site(said: str, expected: str) -> None:
        """Raise QuorumError if a node goes by another name than before."""
        if said != expected:
            raise QuorumError(f"the node of site '{expected}' now calls itself '{said}'")

    def _look_up(self, keys: dict[int, Key]) -> None:
        """Take in the keys of the nodes online, with the names they have at the SuperLink."""
        self._keys = keys
        named = {}
        for node, key in self._keys.items():
            if key.name and (key.name not in named or self._names.get(node) == key.name):
                named[key.name] = key
        self._registered = named

    def _hold_to_keys(self) -> None:
        """Turn away nodes whose names are another key's, those of earlier rounds included."""
        for node, facts in list(self._facts.items()):
            try:
                self.federation.names.check(
                    facts.site, self._keys.get(node, Key()), self._registered
                )
            except QuorumError as error:
                del self._facts[node]
                self._names.pop(node, None)
                site = f"{facts.site} (node {node})"
                self.without(node, str(error), gone=False, site=site)

    def _same_node(self, node: int, site: str) -> None:
        """A node keeps its name: under another it would count twice, with the rows it left.

        A name keeps its node as well while that is online, and where sites vote also when it is
        away. (A key keeps its name whatever node it comes as: one that nobody registered is
        another at every start.)
        """
        self.same_site(site, self._names.get(node, site))
        others = [n for n, name in self._names.items() if name == site and n != node]
        if not others or self.federation.names.keeps(site, self._keys.get(node, Key())):
            return
        fix = f"register its key ('flwr supernode register KEY.pub --name {site}')"
        if any(other in self._facts for other in others):
            raise QuorumError(
                f"another node is site '{site}': give this one a site='...' of its own, or {fix}"
            )
        if self.federation.names.strict:
            raise QuorumError(
                f"another node was site '{site}' before: where sites vote a site keeps its node, "
                f"so {fix}"
            )
