"""The engines there are: what each is called, installed by, and can compute in.

A further engine is a module with ``SUFFIXES``, ``version()``, ``export(program, path)`` and
``compiled(path, precision, threads)``, and a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from fedpatchcore.errors import ConfigError
from fedpatchcore.spelling import mended, typed

__all__ = ["ENGINES", "TORCH", "WORDS", "Kind", "kind_of"]

TORCH = "torch"


@dataclass(frozen=True)
class Kind:
    """An engine.

    Attributes:
        name: of the setting, and of the extra that installs it.
        module: in this folder.
        needs: modules that must be there.
        precisions: that it can compute in.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    precisions: tuple[str, ...]

    def load(self) -> ModuleType:
        """Its module. Raises ConfigError naming what installs it."""
        if lacking := [one for one in self.needs if find_spec(one) is None]:
            raise ConfigError(
                mended(
                    f"engine '{self.name}' needs {', '.join(lacking)}",
                    f"pip install 'fedpatchcore[{self.name}]'",
                    typed("engine", TORCH),
                )
            )
        return import_module(f"fedpatchcore.features.engines.{self.module}")


ENGINES = {
    one.name: one
    for one in (
        Kind("openvino", "by_openvino", ("openvino",), ("float32", "bfloat16")),
        Kind(
            "onnxruntime",
            "by_onnxruntime",
            ("onnxruntime", "onnx", "onnxscript"),
            ("float32",),
        ),
    )
}

WORDS = (TORCH, *ENGINES)


def kind_of(engine: str, precision: str) -> Kind:
    """The engine of this name. Raises ConfigError if it does not compute in this precision."""
    kind = ENGINES[engine]
    if precision not in kind.precisions:
        raise ConfigError(
            mended(
                f"engine '{engine}' computes in {' or '.join(kind.precisions)}, not in {precision}",
                typed("precision", "float32"),
                typed("engine", TORCH),
            )
        )
    return kind
