"""The ``fedpatchcore`` command."""

from fedpatchcore.cli.app import main

__all__ = ["main"]
