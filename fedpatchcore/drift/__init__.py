"""Whether a line is still as it was: charts over numbers, and the likeliest cause of a change.

Pure arithmetic: no pictures, no files, no clock.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "causes": ["Moved"],
        "cusum": ["run_length"],
        "proportions": ["Usual", "shewhart"],
        "watch": ["FIGURES", "LOOKS", "Part", "Rules", "Signal", "Watch"],
    },
)
