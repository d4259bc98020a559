"""From a picture to patch features ``[h, w, D]``, cached on disk.

A fingerprint says what was computed; features of different fingerprints never meet.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cache": ["SiteCache"],
        "extraction": ["Extractor"],
        "extractor": ["Backbone", "build_backbone", "resolve_device"],
        "fingerprint": ["Fingerprint"],
        "geometry": ["Geometry"],
        "settings": ["FeatureSettings"],
    },
)
