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
        "cost": ["Pace", "cost_of", "share_seen", "sizes_of"],
        "engines.registry": ["ENGINES", "TORCH", "WORDS"],
        "extraction": ["Extractor", "Progress"],
        "fingerprint": ["Fingerprint"],
        "geometry": ["Geometry", "Grid", "whole_pixels"],
        "maps": ["FeatureMaps", "Gathering"],
        "prefetch": ["automatic_workers", "in_order"],
        "settings": ["FeatureSettings"],
        "tally": ["BadImages", "Tally"],
        "tiles": ["AHEAD", "KEPT", "pieces_of", "put_together"],
        "tiling": ["Piece"],
        "warm": ["Warm"],
    },
)
