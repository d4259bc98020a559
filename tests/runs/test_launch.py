"""A SuperLink that does not come up is told with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.errors import RunError
from fedpatchcore.runs import launch
from fedpatchcore.runs.launch import LocalFlower


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exec sleep 60", "gave no answer for 1 seconds; try again on an idle machine"),
        ("echo port in use; exit 3", "it ended with code 3: port in use"),
    ],
)
def test_why_it_did_not_start(script: str, said: str, tmp_path: Path, monkeypatch) -> None:
    program = tmp_path / "flower-superlink"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(launch, "START_SECONDS", 1.0)
    flower = LocalFlower(simulation=True, logs=tmp_path / "logs")
    monkeypatch.setattr(flower, "_bin", tmp_path)
    if "sleep" not in script:  # however busy the machine
        monkeypatch.setattr(launch, "START_SECONDS", 60.0)
    with pytest.raises(RunError, match=f"the SuperLink did not start: .*{said}"), flower:
        pass
    assert not flower.processes
