"""What is learned beyond picking patches: generators, memories, students, and how they train.

Pure arithmetic on patch features; when and with whom is for `fedpatchcore.site` and
`fedpatchcore.server` to say.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "answers": ["Update"],
        "arrivals": ["FedAsync", "FedBuff"],
        "registry": ["OPTIMISERS"],
        "rules": ["FedNova", "Remembered", "Rule", "Scaffold", "in_order"],
        "settings": ["LearnedSettings"],
    },
)
