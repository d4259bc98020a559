"""What a wheel holds, and what an environment with it can do without the tree."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.wheels import SMALL, Installed

pytestmark = pytest.mark.slow


def test_a_wheel_holds_the_app_inside_the_package_and_nothing_beside_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"fedpatchcore"}
    for app in ("client_app", "server_app"):
        for source in (ROOT / app).glob("*.py"):
            assert f"fedpatchcore/_app/{app}/{source.name}" in names
    pages = [  # templates, styles, scripts, texts in other languages, migrations
        path
        for path in (ROOT / "fedpatchcore").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len({page.parent for page in pages}) >= 8
    assert {str(p.relative_to(ROOT)) for p in pages} <= set(names)
    assert not [name for name in names if name.endswith((".pyc", ".safetensors"))]


def test_the_package_is_the_wheels(user: Installed) -> None:
    code = "import fedpatchcore, importlib.util as u; print(fedpatchcore.__file__)"
    done = user("python", "-c", f"{code}; print(u.find_spec('client_app'))")
    place, found = done.stdout.split()
    assert Path(place).is_relative_to(user.bin.parent)
    assert found == "None"


def test_doctor(user: Installed) -> None:
    told = "site='north' data='sites/north'"
    done = user(
        "fedpatchcore", "doctor", "site", "--node-config", told, "-c", "backbone=filterbank"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ data folder" in done.stdout


def test_an_installation_that_lacks_its_app_is_told_what_mends_it(user: Installed) -> None:
    """An app folder that was taken away is named, with what brings it back."""
    app = next(user.bin.parent.rglob("fedpatchcore/_app"))
    away = app.with_name("_away")
    app.rename(away)
    try:
        done = user("fedpatchcore", "simulate", "--data", "sites", *SMALL)
    finally:
        away.rename(app)
    assert done.returncode == 2
    assert "not wholly installed (pip install --force-reinstall" in done.stderr
