"""What the package shows: the names one imports, and what is loaded for them and for commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedpatchcore
from tests.support.places import ROOT

FACE = {
    "FedPatchCoreError",
    "MemoryBank",
    "NodeConfig",
    "PatchCore",
    "Prediction",
    "RunConfig",
    "federate",
}
HEAVY = ("torch", "torchvision", "faiss", "sklearn", "scipy", "matplotlib", "flwr", "ray")


def loaded_by(code: str) -> list[str]:
    """Which of the heavy packages this Python code brings in."""
    told = f"{code}\nimport sys; print(*[m for m in {HEAVY} if m in sys.modules], sep=' ')"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_the_names_of_the_package_are_these() -> None:
    assert set(fedpatchcore.__all__) == FACE
    for name in FACE:
        assert getattr(fedpatchcore, name).__name__ == name
    assert set(dir(fedpatchcore)) >= FACE


def test_importing_the_package_loads_nothing_that_computes() -> None:
    assert loaded_by("import fedpatchcore") == []
    assert loaded_by("from fedpatchcore import RunConfig, NodeConfig; RunConfig()") == []
    assert "torch" in loaded_by("from fedpatchcore import PatchCore")  # the test can fail


def test_what_stays_in_memory_at_a_site_loads_nothing_that_computes() -> None:
    """`fedpatchcore node` runs for months beside processes that need the memory."""
    assert loaded_by("import fedpatchcore.cli.serving") == []


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("settings",),
        ("settings", "coreset-ratio"),
        ("settings", "--toml"),
        ("doctor", "--help"),
        ("doctor", "site", "--help"),
        ("status", "--help"),
        ("run", "--help"),
        ("node", "--help"),
        ("predict", "--help"),
        ("audit", "mechanism", "--help"),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_a_command_that_only_tells_starts_at_once(words: tuple[str, ...]) -> None:
    code = (
        "import contextlib, io, sys\n"
        f"sys.argv = ['fedpatchcore', *{words!r}]\n"
        "from fedpatchcore.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main()\n"
    )
    assert loaded_by(code) == []


@pytest.mark.parametrize(
    ("typed", "expected"), [("do", "doctor"), ("doctor s", "site"), ("predict --thr", "--thr")]
)
def test_completion_starts_at_once(typed: str, expected: str) -> None:
    words = f"fedpatchcore {typed}"
    code = (
        "import contextlib, io, os, sys\n"
        "os.environ |= {'_FEDPATCHCORE_COMPLETE': 'complete_bash', "
        f"'COMP_WORDS': {words!r}, 'COMP_CWORD': '{len(words.split()) - 1}'}}\n"
        "sys.argv = ['fedpatchcore']\n"
        "from fedpatchcore.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    main()\n"
        "print(out.getvalue(), file=sys.stderr)"
    )
    told = f"{code}\nprint(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert expected in done.stderr
    assert done.stdout.split() == []


def python_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_pages_import_from_the_public_face() -> None:
    blocks = [block for page in (ROOT / "README.md",) for block in python_of(page)]
    assert blocks
    for block in blocks:
        for module in re.findall(r"^(?:from|import) (fedpatchcore\S*)", block, flags=re.MULTILINE):
            assert module == "fedpatchcore"
