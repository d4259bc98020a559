"""Faulty and hostile sites: checks of what they send, comparison of sites, robust medians.

And the attacks that a simulation rehearses against them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "alignment": ["align", "cell_count"],
        "attacks": ["ATTACKS", "malicious_sites"],
        "density": ["dense_rows"],
        "medians": ["central"],
        "moves": ["length", "move_scores"],
        "settings": ["AttackSettings", "RobustnessSettings"],
        "sitescores": ["ROWS_A_SITE", "outliers", "site_scores"],
        "support": ["SINGLE_SOURCE_DROP", "admitted", "cell_support", "confirmed"],
        "validation": ["MAX_ROWS", "limits_of", "screen", "strangers", "typical_norm"],
    },
)
