"""What sites contribute, the memory bank made of it, and the files of both.

Everything read from a file is checked and stays loadable; no pickle anywhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "contribution": ["Contribution", "Part"],
        "memory_bank": ["MemoryBank"],
        "section": ["LENS", "MERGED", "SHARED", "Section", "measure_alike"],
        "settings": ["BankSettings"],
        "store": ["Contributions"],
    },
)
