"""Fingerprints of features that nothing was extracted for."""

from __future__ import annotations

from fedpatchcore.features.fingerprint import Fingerprint

__all__ = ["FINGERPRINT", "UNBOUNDED", "fingerprint"]


def fingerprint(**overrides: object) -> Fingerprint:
    """Two layers of a SqueezeNet, as it is used beside its defaults."""
    base = {
        "architecture": "squeezenet1_1",
        "layers": ("features.7", "features.12"),
        "geometry": "full",
        "image_size": 64,
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
        "neighbourhood": 3,
        "layer_norm": "unit",
        "precision": "float32",
        "dimension": 768,
        "weights_sha256": "ab" * 32,
    }
    return Fingerprint(**{**base, **overrides})


FINGERPRINT = fingerprint(dimension=6)
# of a network whose rows have no bound that a server could check
UNBOUNDED = FINGERPRINT.model_copy(update={"layer_norm": "none", "architecture": "densenet121"})
