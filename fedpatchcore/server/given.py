"""What each site gave, and so may speak of: no threshold of a product that it does not make."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from fedpatchcore.bank.section import SHARED
from fedpatchcore.errors import CoresetError
from fedpatchcore.wire.messages import EvaluateReply, ProductResult, SiteFacts, TrainReply

__all__ = ["Given"]

# images may arrive between two messages: so many times as were told, and so many more, may be
GROWTH, MORE = 2, 1000


class Given:
    """Normal images by site and section, as the accepted train replies told them.

    A site's answer to the roll call says what it makes where all products share a section.
    """

    def __init__(self) -> None:
        self._images: dict[str, dict[str, int | None]] = {}  # None: a private site's
        self._facts: dict[str, SiteFacts] = {}

    def named(self, admitted: Iterable[SiteFacts]) -> None:
        """What sites said at the roll call."""
        self._facts |= {facts.site: facts for facts in admitted}

    def products(self, sites: Iterable[str]) -> list[str]:
        """All products that these sites named at the roll call, in order."""
        facts = (self._facts[site] for site in sites if site in self._facts)
        return sorted({product for one in facts for product in one.products})

    def images(self, sites: Iterable[str]) -> dict[str, int]:
        """Training images that each of these named; 0 where they are withheld."""
        known = ((site, self._facts.get(site)) for site in sites)
        return {site: sum(facts.train_images) if facts else 0 for site, facts in known}

    def unseen(self, sites: Iterable[str], sections: Container[str]) -> dict[str, int]:
        """Those of `images` that are of products which no section is of."""
        found = {}
        for site in sites:
            if facts := self._facts.get(site):
                named = zip(facts.products, facts.train_images, strict=True)
                found[site] = sum(n for name, n in named if name not in sections)
        return {} if SHARED in sections else found

    def took(self, reply: TrainReply, covered: Iterable[str]) -> None:
        """A train reply was accepted; ``covered``: sections of the bank that it was sent.

        Images count where rows came with them, or a bank could cover them already.
        """
        rows = set(reply.contribution.parts if reply.contribution else ()) | set(covered)
        private = reply.privacy is not None
        told = {s.section: s.represented + s.held_out for s in reply.stats if s.section in rows}
        told |= dict.fromkeys(reply.releases or (), 1)
        if reply.kind == "masked":
            told |= dict.fromkeys((s.section for s in reply.stats), 1)
        self._images[reply.site] = dict.fromkeys(told) if private else told

    def restore(self, history: Iterable[Mapping[str, Any]]) -> None:
        """As `took`, from the records of accepted replies in a checkpoint."""
        for record in history:
            for site, told in record["train"].items():
                private = bool(told.get("privacy"))
                self._images[site] = {
                    s["section"]: None if private else s["represented"] + s["held_out"]
                    for s in told.get("sections") or ()
                }

    def check(self, reply: EvaluateReply, *, shared: bool) -> tuple[str, ...]:
        """Products whose threshold is told and counts for nothing: no bank has it, no median.

        That is all of them where nothing of the site was ever accepted, though it named images
        of the product at the roll call: its train reply was late or lost.

        Raises:
            CoresetError: a threshold of what the site does not make, or of what it gave nothing of
                while it gave other things; or from more images than it has.
        """
        loose = []
        for result in reply.results:
            if not result.calibrated:
                continue
            if reply.site not in self._images and self._named(reply.site, result.product):
                loose.append(result.product)
            else:
                self._check(reply.site, result, SHARED if shared else result.product)
        return tuple(loose)

    def _named(self, site: str, product: str) -> bool:
        return site in self._facts and self._makes(site, product)

    def _check(self, site: str, result: ProductResult, section: str) -> None:
        images = self._images.get(site, {}).get(section, 0)
        if images == 0 or (section == SHARED and not self._makes(site, result.product)):
            raise CoresetError(
                f"site '{site}' tells a threshold of '{result.product}', of which no rows and no "
                "normal images of it were accepted"
            )
        if images is not None and result.calibrated > GROWTH * images + MORE:
            raise CoresetError(
                f"site '{site}' tells a threshold of '{result.product}' from "
                f"{result.calibrated:,} images and has named {images:,}"
            )

    def _makes(self, site: str, product: str) -> bool:
        """Whether the site named training images of a product; True where it was never asked."""
        if (facts := self._facts.get(site)) is None:
            return True
        named = dict(zip(facts.products, facts.train_images, strict=True))
        return bool(named.get(product)) or (product in named and not any(named.values()))
