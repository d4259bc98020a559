"""OpenVINO's converter reports each use to a web service; from here it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPORT = """
import sys, torch
{before}
from pathlib import Path
from fedpatchcore.features.engines import by_openvino
program = torch.export.export(torch.nn.Linear(2, 2).eval(), (torch.zeros(1, 2),))
by_openvino.export(program, Path(sys.argv[1]) / "graph")
told = sys.modules.get("openvino_telemetry")
if told is not None:
    from openvino.tools.ovc import convert_impl, telemetry_stub, telemetry_utils
    assert convert_impl.tm is telemetry_utils.tm is telemetry_stub
"""


@pytest.mark.long
@pytest.mark.parametrize("before", ["", "import openvino, openvino.tools.ovc.convert_impl"])
def test_an_export_reports_to_nobody(tmp_path: Path, before: str) -> None:
    pytest.importorskip("openvino", reason="pip install -e '.[test]'")
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}  # and no CI, where it is off
    command = [sys.executable, "-c", EXPORT.format(before=before), str(tmp_path)]
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "graph.xml").is_file()
    if not before:  # else that import has told already
        assert not (tmp_path / "intel").exists()  # where it would keep this machine's number
