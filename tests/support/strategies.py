"""What hypothesis draws in several tests."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["SEEDS"]

SEEDS = st.integers(0, 2**31)
