"""Settings chosen without a single defect: candidates ranked by defects planted into good parts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "candidates": ["Candidate", "coarse", "named_candidates", "present_backbones"],
        "pictures": ["planted_features"],
        "plan": ["Plan", "planned"],
        "ranking": ["Ranked", "front"],
        "search": ["Found", "Search"],
        "state": ["State", "question"],
        "written": ["chosen_settings", "write_settings"],
    },
)
