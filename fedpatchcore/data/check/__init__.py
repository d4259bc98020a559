"""What is wrong with a folder of images, before anything is learnt from it.

Every picture is opened once (`looks`); each check of `registry` then gives findings, whose texts
say what mends them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "findings": ["FAULT", "NOTE", "WARNING", "Finding"],
        "running": ["check_products", "gravest"],
    },
)
