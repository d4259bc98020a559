"""OpenVINO, on the processor alone.

OpenVINO tells a web service that it is imported and what it converts, from processes that it forks,
which may hang in a program of several threads. Here it tells nobody: where ``openvino_telemetry``
is not to be had it uses a stand-in of its own that does nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

__all__ = ["SUFFIXES", "compiled", "export", "version"]

SUFFIXES = (".xml", ".bin")
HINTS = {"float32": "f32", "bfloat16": "bf16"}
REPORTS = "openvino_telemetry"


def _quiet() -> ModuleType:
    """OpenVINO, told that there is nobody to report to; also if it was imported before."""
    if sys.modules.get(REPORTS) is None:
        sys.modules[REPORTS] = None  # to whoever would import it: there is none
    found = import_module("openvino")
    converter = "openvino.tools.ovc"
    nobody = import_module(f"{converter}.telemetry_stub")
    for name, module in list(sys.modules.items()):
        if name.startswith(converter) and hasattr(module, "tm"):
            module.tm = nobody
    return found


openvino = _quiet()


def version() -> str:
    """Of the engine, for the export depends on it."""
    return openvino.__version__


def export(program: torch.export.ExportedProgram, stem: Path) -> None:
    """Write the graph as ``stem`` with each of `SUFFIXES`."""
    model = openvino.convert_model(program)
    openvino.save_model(model, stem.with_suffix(SUFFIXES[0]), compress_to_fp16=False)


def compiled(stem: Path, precision: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function float32 ``[B, H, W, 3]`` → float32 ``[B, h, w, D]``.

    The precision is always said: by itself OpenVINO takes bfloat16 where a processor has it.
    """
    told = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    model = core.compile_model(core.read_model(stem.with_suffix(SUFFIXES[0])), "CPU", told)

    def run(images: np.ndarray) -> np.ndarray:
        return model(images)[0]

    return run
