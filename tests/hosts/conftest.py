"""The faults' fixtures and their table, for faults of links."""

from tests.faults.conftest import data, inject, pytest_terminal_summary, row, undisturbed

__all__ = ["data", "inject", "pytest_terminal_summary", "row", "undisturbed"]
