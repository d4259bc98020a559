"""What every place with pages has: people, roles, the trail, the door, its data base and look.

The control room and the station stand on it; neither knows the other.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={},
)
