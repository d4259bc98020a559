"""What one facility allows to leave, whatever a run asks for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.registry import examples
from fedpatchcore.privacy.settings import NO_CAP, PrivacySettings
from fedpatchcore.spelling import typed

if TYPE_CHECKING:
    from fedpatchcore.privacy.ledger import Ledger

__all__ = ["Policy"]


class Policy:
    """What one facility allows, whatever a run asks for.

    Args:
        ledger: folder of the site's ledger.
        required: refuse runs with ``dp="off"``; it takes a budget, or the run would name its own.
        budget: the site's own cap on ε per image; 0 takes the run's.
        alone: the same, if all others of a secure sum collude.
        trust_server: whether a server that adds the noise itself may see what it hides.
        masked: "figures" and "updates", where these leave under masks alone.
        colluding: sites in league with the server that a secure sum must allow for at least.

    Raises:
        PrivacyError: privacy is required and no cap is named.
    """

    def __init__(
        self,
        ledger: Path | None,
        *,
        required: bool = False,
        budget: float = 0.0,
        alone: float = 0.0,
        trust_server: bool = False,
        masked: Collection[str] = (),
        colluding: int = 0,
    ):
        if required and not budget > 0:
            raise PrivacyError(NO_CAP)
        self._root = ledger
        self.required = required
        self.budget = budget
        self.alone = alone
        self.trust_server = trust_server
        self.masked = masked
        self.colluding = colluding

    @property
    def ledger(self) -> Ledger | None:
        """The site's ledger; its folder is made when it is first written to."""
        from fedpatchcore.privacy.ledger import Ledger

        return Ledger(self._root) if self._root else None

    @property
    def in_use(self) -> bool:
        """Whether anything was ever written to the ledger."""
        return self.ledger is not None and self.ledger.in_use

    def limit(self, config: PrivacySettings) -> float:
        """The budget in force: the smaller of the site's and the run's."""
        return min(config.dp_budget_epsilon, self.budget or float("inf"))

    def alone_limit(self, config: PrivacySettings) -> float:
        """The budget in force if all others of a secure sum collude."""
        return min(config.dp_alone_epsilon, self.alone or float("inf"))

    @property
    def sums_folder(self) -> Path | None:
        """Where halves of secure sums are kept from one exchange to the next."""
        return self._root / "sums" if self._root else None

    def allow(self, config: PrivacySettings, site: str) -> None:
        """Raise PrivacyError if this site does not take part in such a run.

        A cap on ε is a word on what may leave: without noise ε would be infinite, so a site with
        a cap takes part in private runs alone, as one that requires them does.
        """
        self._allow_sums(config, site)
        if not (self.required or self.budget):
            return
        words = "dp-required" if self.required else f"dp-budget-epsilon={self.budget:g}"
        here = f"site '{site}' sends nothing without differential privacy (it says {words})"
        if config.dp == "off":
            raise PrivacyError(f"{here}: run with {examples()}")
        if config.seen and not self.trust_server:
            raise PrivacyError(
                f"{here}, and dp='{config.dp}' leaves the noise to the server, who sees updates as "
                f"they are: run with {typed('dp', 'sgd')}, or let this site say "
                f"{typed('dp-trust-server', 'true', own=True)}"
            )
        if config.dp_share_metrics:
            raise PrivacyError(f"{here}: run with {typed('dp-share-metrics', 'false')}")

    def _allow_sums(self, config: Any, site: str) -> None:
        """Of the settings of all rooms (`fedpatchcore.config.RunConfig`)."""
        for what, key, asked in (
            ("figures", "secure-figures", config.secure_figures),
            ("updates", "secure-sums", config.secure_sums or not config.kind.learned),
        ):
            if what in self.masked and not asked:
                raise PrivacyError(
                    f"site '{site}' lets its {what} leave under masks alone (it says "
                    f"masked='{','.join(self.masked)}'): run with {typed(key, 'true')}"
                )
        summed = config.secure_sums or config.secure_figures
        if summed and config.colluding_sites < self.colluding:
            raise PrivacyError(
                f"site '{site}' reckons with {self.colluding} sites in league with the server (it "
                f"says colluding-sites), the run with {config.colluding_sites}: run with "
                f"{typed('colluding-sites', str(self.colluding))}"
            )
