"""Federated PatchCore: one shared notion of "normal" for many inspection sites.

What is named here is loaded when it is first used: importing the package alone takes neither
PyTorch nor FAISS.
"""

import os

import lazy_loader

from fedpatchcore.version import VERSION

__version__ = VERSION

# GNU's OpenMP, which PyTorch and FAISS bring along, lets idle compute threads spin for 300,000
# turns before they sleep. Beside decoding threads, or anything else on the machine, they take the
# cores from those who work: on two busy cores extraction took five times the processor time and
# was a third to a ninth as quick. Read when the library is loaded, so set before PyTorch is.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bank.memory_bank": ["MemoryBank"],
        "config": ["NodeConfig", "RunConfig"],
        "detection.detector": ["PatchCore"],
        "detection.judging": ["Prediction"],
        "errors": ["FedPatchCoreError"],
        "inprocess": ["federate"],
    },
)
