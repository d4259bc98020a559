"""The few patches that stand for all: exact greedy k-center, within a memory budget if need be.

Knows rows of numbers and nothing of images or banks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "blocks": ["BlockCoreset"],
        "bounds": ["differences", "product_slack"],
        "budgeted": ["Streamed", "affordable", "peek"],
        "clusters": ["kmeans"],
        "greedy": ["greedy_k_center", "random_coreset", "selector"],
        "memory": ["exact_memory", "least_memory"],
        "pairs": ["squared_distances"],
        "settings": ["CoresetSettings"],
        "sketch": ["middle_of"],
    },
)
