"""Imports in the whole tree: each name is there, is public, and stands on its room's face."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

from tests.support.places import ROOT

OURS = ("fedpatchcore", "client_app", "server_app", "tests")
PRODUCT = ("fedpatchcore", "client_app", "server_app")
FILES = sorted(
    path
    for folder in (*OURS, "benchmarks", "docker")
    for path in (ROOT / folder).rglob("*.py")
    if "inject" not in path.parts  # put on PYTHONPATH by the fault tests
)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def place(module: str) -> Path | None:
    """The file of one of our modules; None if there is none."""
    base = ROOT.joinpath(*module.split("."))
    found = [p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()]
    return found[0] if found else None


@cache
def imports(path: Path) -> list[tuple[str, str]]:
    """``(module, name)`` of every ``from ours import name``, also those within functions."""
    return [
        (node.module, alias.name)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        if node.module.split(".")[0] in OURS
        for alias in node.names
    ]


@cache
def defined(path: Path) -> set[str]:
    """Names that stand at the top of a module, also below an ``if``."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@cache
def public(path: Path) -> set[str] | None:
    """``__all__`` of a module; None if it has none."""
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in FILES}), ids=lambda p: str(p.relative_to(ROOT))
)
def test_what_is_imported_is_there(folder: Path) -> None:
    """Also where `make test` does not run: benchmarks, hosts, faults."""
    for path in (one for one in FILES if one.parent == folder):
        for module, name in imports(path):
            file = place(module)
            assert file, f"{path}: no module {module}"
            if place(f"{module}.{name}") is None:
                lazy = file.name == "__init__.py"  # a room's face, loaded when it is used
                known = dir(importlib.import_module(module)) if lazy else defined(file)
                assert name in known, f"{path}: {module} has no {name}"


def test_what_other_modules_import_is_public() -> None:
    missing = {
        f"{module}.{name}"
        for path in FILES
        if path.relative_to(ROOT).parts[0] in PRODUCT
        for module, name in imports(path)
        if (file := place(module)) and file.name != "__init__.py"
        if place(f"{module}.{name}") is None
        if (known := public(file)) is not None and name not in known
    }
    assert not missing


def crossing() -> dict[str, dict[str, str]]:
    """By room: names that other rooms import from its modules, with the module."""
    found: dict[str, dict[str, str]] = {}
    for path in FILES:
        parts = path.relative_to(ROOT).parts
        if parts[0] not in PRODUCT:
            continue
        own = parts[1] if parts[0] == "fedpatchcore" and len(parts) > 2 else ""
        for module, name in imports(path):
            words = module.split(".")
            if words[0] != "fedpatchcore" or len(words) < 2 or words[1] == own:
                continue
            if len(words) == 2 and not (ROOT / "fedpatchcore" / words[1]).is_dir():
                continue  # a module that is no room
            if place(f"{module}.{name}") is None:
                found.setdefault(words[1], {})[name] = ".".join(words[2:])
    return found


def test_a_rooms_face_is_what_other_rooms_take_from_it() -> None:
    for room, names in crossing().items():
        face = set(importlib.import_module(f"fedpatchcore.{room}").__all__)
        modules = {p.stem for p in (ROOT / "fedpatchcore" / room).iterdir()}
        assert set(names) - modules == face, f"fedpatchcore/{room}/__init__.py"
