"""OpenVINO, on the processor alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import torch

__all__ = ["SUFFIXES", "compiled", "export", "version"]

SUFFIXES = (".xml", ".bin")
HINTS = {"float32": "f32", "bfloat16": "bf16"}


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
