"""A ledger that holds nothing yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.privacy.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Of one site, on a disk that is well."""
    return Ledger(tmp_path / "site" / "ledger")
