"""Feature extractors behind one interface: `build_backbone(config) → Backbone`."""

from fedpatchcore.backbones.extractor import Backbone, build_backbone, resolve_device
from fedpatchcore.backbones.fingerprint import Fingerprint
from fedpatchcore.backbones.geometry import Geometry

__all__ = ["Backbone", "Fingerprint", "Geometry", "build_backbone", "resolve_device"]
