"""How good scores are, given the truth: AUROC, AP, AUPRO, AUC-sPRO.

And how local, federated and pooled banks compare by them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparison": [
            "EQUAL",
            "METHODS",
            "NAMES",
            "PIXEL_METHODS",
            "best",
            "comparison_rows",
            "last_evaluated",
            "shown",
            "used",
            "weakest",
        ],
        "curves": ["image_auroc"],
        "rates": ["percent"],
    },
)
