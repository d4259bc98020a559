"""Differential privacy per image: mechanisms, accounting, a site's ledger, audits.

Knows neither sites nor rounds; `fedpatchcore.site` and `fedpatchcore.server` apply it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cells": ["CellSums"],
        "codebook": ["Codebook"],
        "kernels": ["KernelSums"],
        "ledger": ["Ledger"],
        "moments": ["MomentSums"],
        "per_vector": ["PerVectorGaussian"],
        "policy": ["Policy"],
        "registry": ["MECHANISMS", "Mechanism"],
        "releases": ["LedgerNote", "Release"],
        "settings": ["PrivacySettings"],
        "sums": ["ImageSums"],
    },
)
