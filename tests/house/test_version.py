"""Which versions may work together, and what is told where they may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.server.rollcall import call_roll
from fedpatchcore.version import VERSION, differ, mend, misfit, refusal
from fedpatchcore.wire.messages import SiteFacts
from tests.support.fingerprints import FINGERPRINT


@pytest.mark.parametrize("theirs", ["1.4.0", "1.4.7", "1.4.0rc1", "1.4", "1.4.2+plant.3"])
def test_patch_versions_may_differ(theirs: str) -> None:
    assert refusal(theirs, "1.4.2") == ""


@pytest.mark.parametrize("theirs", ["1.3.9", "1.5.0", "2.4.2", "0.4.2", "1!1.4.2"])
def test_another_minor_version_is_refused_with_the_command(theirs: str) -> None:
    told = refusal(theirs, "1.4.2")
    assert f"it has FedPatchCore {theirs}, the server 1.4.2" in told
    assert told.endswith("pip install 'fedpatchcore==1.4.*'")


@pytest.mark.parametrize("theirs", ["", "new", "1.4.x", "1.4.2\n", "v" * 10_000, "None"])
def test_what_is_no_version_is_refused_in_one_short_line(theirs: str) -> None:
    told = refusal(theirs, "1.4.2")
    assert ("which is no version" in told) == (theirs.strip() != "1.4.2")
    assert len(told.splitlines()) <= 1 and len(told) < 200


def test_differ() -> None:
    assert not differ("1.4.2", "1.4.2")
    assert not differ("1.4", "1.4.0")
    assert differ("1.4.3", "1.4.2")
    assert mend("1.4.2") == "pip install 'fedpatchcore==1.4.*'"


def write_app(beside: Path, version: str) -> Path:
    folder = beside / version
    folder.mkdir()
    (folder / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "{version}"\n')
    return folder


def test_an_app_fits_the_library_of_its_minor_version(tmp_path: Path) -> None:
    major, minor, patch = map(int, VERSION.split("."))
    assert misfit(write_app(tmp_path, VERSION)) == ""
    assert misfit(write_app(tmp_path, f"{major}.{minor}.{patch + 1}")) == ""
    told = misfit(write_app(tmp_path, f"{major}.{minor + 1}.0"))
    assert f"installed here is {VERSION}" in told
    assert f"pip install 'fedpatchcore=={major}.{minor + 1}.*'" in told


def test_the_roll_call_refuses_other_minor_versions_and_asks_the_rest() -> None:
    def facts(name: str, version: str) -> SiteFacts:
        return SiteFacts(name, ("p",), (1,), (0,), "cpu", FINGERPRINT.to_json(), version)

    major, minor, patch = map(int, VERSION.split("."))
    answers = {
        "1": facts("a", VERSION),
        "2": facts("b", f"{major}.{minor}.{patch + 5}"),
        "3": facts("c", f"{major}.{minor + 1}.0"),
        "4": facts("d", "unknown"),
    }
    refused, agreed = call_roll(answers, None)
    assert agreed == FINGERPRINT
    assert set(refused) == {"3", "4"}
    assert f"it has FedPatchCore {major}.{minor + 1}.0" in refused["3"]


def test_a_site_of_another_version_has_no_say_in_the_features() -> None:
    """Two sites of another version do not outvote the one that fits."""
    other = FINGERPRINT.model_copy(update={"weights_sha256": "cd" * 32})

    def facts(name: str, version: str, fingerprint) -> SiteFacts:
        return SiteFacts(name, ("p",), (1,), (0,), "cpu", fingerprint.to_json(), version)

    answers = {
        "1": facts("a", VERSION, FINGERPRINT),
        "2": facts("b", "99.0.0", other),
        "3": facts("c", "99.0.0", other),
    }
    refused, agreed = call_roll(answers, None)
    assert agreed == FINGERPRINT
    assert set(refused) == {"2", "3"}
