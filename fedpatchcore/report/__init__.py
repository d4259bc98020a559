"""One page a run, for people, in one file that needs nothing else."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "charts.shapes": ["Chart", "Circle", "Shape", "Text", "empty", "line", "ticks"],
        "data_page": ["write_data_page"],
        "page": ["build_report"],
        "planted_page": ["write_planted_page"],
        "tune_page": ["write_tune"],
        "words": ["amount", "percent", "reason_of", "seconds"],
    },
)
