"""What the pages say of the tree is there: files, modules, settings, commands."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from fedpatchcore.cli.app import COMMANDS
from fedpatchcore.config import NodeConfig, RunConfig
from tests.support.places import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
ROOMS = "|".join(
    path.name for path in (ROOT / "fedpatchcore").iterdir() if (path / "__init__.py").is_file()
)


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_files_that_are_named_are_there(page: Path) -> None:
    """Paths from the root, from the library, or from the benchmarks' own folder."""
    text = page.read_text()
    found = re.findall(rf"`((?:[\w-]+/)*[\w-]+\.(?:py|j2|css|sh))`|`((?:{ROOMS})/)`", text)
    for file, room in found:
        name = file or room
        report = ROOT / "fedpatchcore/report"
        places = (ROOT, ROOT / "fedpatchcore", page.parent, report, report / "templates")
        assert any((place / name).exists() for place in places) or "<" in name, name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_modules_that_are_named_are_there(page: Path) -> None:
    for name in set(re.findall(r"`(fedpatchcore(?:\.[a-z_]+)+)", page.read_text())):
        module, _, last = name.rpartition(".")
        try:
            known = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            known = False
        if not known:  # an attribute of a module, or of a span
            known = last in ("site", "round", "run") or hasattr(
                importlib.import_module(module), last
            )
        assert known, name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_settings_and_commands_that_are_named_are_there(page: Path) -> None:
    known = {*RunConfig().table(), *NodeConfig().table()}
    told = re.findall(r"(?:-c |--config )([a-z][a-z-]+)=", page.read_text())
    assert set(told) - {"key"} <= known
    commands = re.findall(r"^(?:\$ )?fedpatchcore ([a-z]+)", page.read_text(), flags=re.MULTILINE)
    assert set(commands) <= set(COMMANDS)
