"""Faulty and hostile sites: checks of what they send, comparison of sites, robust medians.

And the attacks that a simulation rehearses against them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attacks": ["ATTACKS", "malicious_sites"],
        "settings": ["AttackSettings", "RobustnessSettings"],
        "sitescores": ["outliers", "site_scores"],
        "validation": ["screen", "screen_against"],
    },
)
