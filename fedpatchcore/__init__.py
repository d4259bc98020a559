"""Federated PatchCore: one shared notion of "normal" for many inspection sites."""

__version__ = "0.1.0"
