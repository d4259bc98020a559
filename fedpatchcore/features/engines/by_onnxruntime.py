"""ONNX Runtime, on the processor alone."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

__all__ = ["SUFFIXES", "compiled", "export", "version"]

SUFFIXES = (".onnx",)


def version() -> str:
    """Of the engine, for the export depends on it."""
    return onnxruntime.__version__


def export(program: torch.export.ExportedProgram, stem: Path) -> None:
    """Write the graph as ``stem`` with each of `SUFFIXES`."""
    logging.getLogger("onnx_ir").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own parts
        torch.onnx.export(
            program, f=str(stem.with_suffix(SUFFIXES[0])), external_data=False, verbose=False
        )


def compiled(stem: Path, precision: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function float32 ``[B, H, W, 3]`` → float32 ``[B, h, w, D]``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(stem.with_suffix(SUFFIXES[0])), options, providers=["CPUExecutionProvider"]
    )
    (name,) = (one.name for one in session.get_inputs())

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(None, {name: images})[0]

    return run
