"""Differential privacy per image: mechanisms, accounting, a site's ledger, audits.

Knows neither sites nor rounds; `fedpatchcore.site` and `fedpatchcore.server` apply it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "codebook": ["Codebook"],
        "kernels": ["KernelSums"],
        "ledger": ["Ledger"],
        "mechanism": ["CellSums", "PerVectorGaussian"],
        "moments": ["MomentSums"],
        "policy": ["Policy"],
        "releases": ["LedgerNote", "Release"],
        "settings": ["PrivacySettings"],
    },
)
