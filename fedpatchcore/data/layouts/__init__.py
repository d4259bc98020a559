"""How a site keeps its images: one module a layout, told apart by how the folder looks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "discovery": ["discover"],
        "registry": ["LAYOUTS", "Layout"],
    },
)
