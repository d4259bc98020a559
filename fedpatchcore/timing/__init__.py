"""How long work takes and how much memory at its peak.

Where work names its phases (`phases.phase`), whoever watches hears of them: logs, traces, replies.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "halting": ["checkpoint", "haltable"],
        "peaks": ["Peak", "peak"],
        "phases": ["Facts", "Watcher", "phase", "watched"],
    },
)
