"""How good scores are, given the truth: AUROC, AP, AUPRO, AUC-sPRO.

And how local, federated and pooled banks compare by them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparison": ["comparison_rows"],
        "curves": [
            "average_precision",
            "image_auroc",
            "paired_bootstrap",
            "pixel_auroc",
            "roc_points",
        ],
        "spro": ["auc_spro", "aupro"],
    },
)
