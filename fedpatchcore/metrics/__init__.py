"""How good scores are, given the truth: AUROC, AP, AUPRO, AUC-sPRO.

How local, federated and pooled banks compare by them; what thresholds decided and promised.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compared": ["Judged", "compared_told", "judged_by", "together"],
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
        "detection_probability": ["NoPod", "Pod", "fit_pod"],
        "fairness": ["BankFairness", "FIGURES", "Fairness", "fairness_told", "makers"],
        "fairness_words": ["Words", "difference", "index", "served_words"],
        "planted_found": [
            "LIMITS",
            "Line",
            "PlantedFound",
            "planted_told",
            "total_found",
            "without_curve",
        ],
        "promises": ["Promise", "range_of"],
        "rates": ["Rate", "percent", "spanned"],
        "totals": ["Totals", "length", "numbers_of"],
        "verdicts": ["Verdict", "kinds_found", "total", "verdict", "verdicts_told"],
    },
)
