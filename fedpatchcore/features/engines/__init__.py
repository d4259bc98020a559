"""Engines that run a backbone on a processor faster than torch does: exported once, checked, kept.

What an engine gives is checked against torch on the first pictures it sees; only what is equal
within a stated tolerance is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "engine": ["Engine", "build_engine"],
        "registry": ["ENGINES"],
    },
)
