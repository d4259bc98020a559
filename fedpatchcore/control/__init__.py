"""The control room: sites, runs, banks and their history in a browser, with the API behind it.

It reads the results folder and hands runs to Flower's programs; it holds no images, and no features
but the banks'.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "demo": ["story"],
        "gates": ["GateSettings"],
        "room": ["CONSOLE", "Room"],
        "serving": ["serve"],
        "starting": ["Nowhere", "Simulation", "SuperLink"],
    },
)
