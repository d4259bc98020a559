"""Images of a site: decoding, folder layouts, masks.

Also what only a simulation needs: partitions over virtual sites and the synthetic sample.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "images": ["load_image", "list_images", "to_pil"],
        "layouts.discovery": ["discover"],
        "counts": ["statistics", "write_statistics"],
        "products": ["Product", "TestImage"],
        "settings": ["DataSettings"],
    },
)
