"""The networks behind the features, one module a kind, and where their weights are found.

No weights are ever made up: a network without its weights is an error.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "filterbank": ["FilterBank"],
        "weights": ["WeightsFile", "find_weights", "import_weights"],
    },
)
