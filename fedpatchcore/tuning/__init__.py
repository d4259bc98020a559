"""Settings chosen without a single defect: candidates ranked by defects planted into good parts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "candidates": [
            "AS_TOLD",
            "Candidate",
            "coarse",
            "finer",
            "known_backbones",
            "named_candidates",
            "present_backbones",
        ],
        "pictures": ["planted_features"],
        "plan": ["Plan", "planned"],
        "ranking": ["Ranked", "front", "ranked"],
        "search": ["BEST", "Found", "Search", "steps"],
        "settings": ["TuneSettings", "tune_clash"],
        "state": ["State", "question"],
        "trial": ["try_out"],
        "written": ["chosen_settings", "write_settings"],
    },
)
