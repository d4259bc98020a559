"""From a picture to patch features ``[h, w, D]``, cached on disk.

A fingerprint says what was computed; features of different fingerprints never meet.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "backbone": ["Backbone", "build_backbone"],
        "backbones.registry": ["FAMILIES", "family_of"],
        "backbones.weights": ["candidates", "find_weights", "import_weights"],
        "cache": ["SiteCache"],
        "engines.registry": ["ENGINES", "TORCH", "WORDS"],
        "extraction": ["BadImages", "Extractor", "Progress", "Tally", "gathered"],
        "fingerprint": ["Fingerprint"],
        "geometry": ["Geometry", "whole_pixels"],
        "prefetch": ["automatic_workers", "in_order"],
        "settings": ["FeatureSettings"],
        "squares": ["Squares"],
        "warm": ["Warm"],
    },
)
