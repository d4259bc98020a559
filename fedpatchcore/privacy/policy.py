"""What one facility allows to leave, whatever a run asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.registry import examples
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.spelling import typed

if TYPE_CHECKING:
    from fedpatchcore.privacy.ledger import Ledger

__all__ = ["Policy"]


class Policy:
    """What one facility allows, whatever a run asks for.

    Args:
        ledger: folder of the site's ledger.
        required: refuse runs with ``dp="off"``.
        budget: the site's own cap on ε per image; 0 takes the run's.
    """

    def __init__(self, ledger: Path | None, *, required: bool = False, budget: float = 0.0):
        self._root = ledger
        self.required = required
        self.budget = budget

    @property
    def ledger(self) -> Ledger | None:
        """The site's ledger; its folder is made when it is first written to."""
        from fedpatchcore.privacy.ledger import Ledger

        return Ledger(self._root) if self._root else None

    @property
    def in_use(self) -> bool:
        """Whether anything was ever written to the ledger."""
        return self._root is not None and (self._root / "ledger.jsonl").is_file()

    def limit(self, config: PrivacySettings) -> float:
        """The budget in force: the smaller of the site's and the run's."""
        return min(config.dp_budget_epsilon, self.budget or float("inf"))

    def allow(self, config: PrivacySettings, site: str) -> None:
        """Raise PrivacyError if this site does not take part in such a run."""
        if config.dp == "off" and self.required:
            raise PrivacyError(
                f"site '{site}' sends nothing without differential privacy (its own settings say "
                f"dp-required): run with {examples()}"
            )
        if config.dp_share_metrics and self.required:
            raise PrivacyError(
                f"site '{site}' sends nothing without differential privacy (its own settings say "
                f"dp-required): run with {typed('dp-share-metrics', 'false')}"
            )
