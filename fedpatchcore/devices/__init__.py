"""Where work is done: CPU, a GPU, or all of them; its memory, and how it multiplies.

Knows nothing of features or banks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "choice": ["every_device", "resolve_device"],
        "faiss": ["faiss_for", "faiss_if_there", "gpus_of_faiss"],
        "halves": ["native_half", "slow_half"],
        "memory": ["OutOfMemory", "free_bytes", "in_blocks"],
        "names": ["check_device"],
        "precision": ["TF32_UNIT", "ieee", "tf32"],
    },
)
