"""The methods there are: one word, `method`, chooses a half at the site and one at the server."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "registry": ["METHODS", "Method"],
        "settings": ["MethodSettings"],
    },
)
