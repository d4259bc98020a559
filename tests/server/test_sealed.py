"""Files of a run that carry their digest: every single bit, every length, older files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpatchcore.cli.app import main
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import RunError
from fedpatchcore.report.page import build_report
from fedpatchcore.sealed import read_sealed, sealed
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from tests.support.runfolders import make_run

CONTENT = {"rounds": [{"round": 1, "sites": {"süd": {"rows": 3, "radius": 0.25}}, "lost": {}}]}


def test_what_is_written_is_read_and_is_json_for_everybody(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    file.write_bytes(sealed(CONTENT))
    assert read_sealed(file, error=RunError) == CONTENT
    assert json.loads(file.read_text()) == {**json.loads(file.read_text()), **CONTENT}


def test_no_flipped_bit_and_no_shorter_file_passes(tmp_path: Path) -> None:
    file, whole = tmp_path / "history.json", sealed(CONTENT)
    for damaged in (whole[:end] for end in range(len(whole))):
        file.write_bytes(damaged)
        with pytest.raises(RunError, match=r"history\.json is damaged"):
            read_sealed(file, error=RunError)
    for at in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[at] ^= 1 << bit
            file.write_bytes(changed)
            with pytest.raises(RunError, match=r"history\.json is damaged"):
                read_sealed(file, error=RunError)


@pytest.mark.parametrize("content", [[], [{"round": 1}], {"run": "a", "version": "0.3.0"}])
def test_a_file_of_an_earlier_version_is_read(tmp_path: Path, content: object) -> None:
    for text in (json.dumps(content), json.dumps(content, indent=1) + "\n"):
        (tmp_path / "old.json").write_text(text)
        assert read_sealed(tmp_path / "old.json", error=RunError) == content


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"sha256": 3}'])
def test_what_is_no_json_is_refused_in_one_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(RunError, match=r"x\.json is damaged") as told:
        read_sealed(tmp_path / "x.json", error=RunError)
    assert "\n" not in str(told.value)


def test_what_cannot_be_sealed_is_said() -> None:
    for content in ({}, {"sha256": "x"}, {"a": float("nan")}):
        with pytest.raises(ValueError):
            sealed(content)


def changed(path: Path) -> None:
    text = path.read_text()
    assert '"seed": 0' in text or '"rows"' in text
    path.write_text(text.replace('"seed": 0', '"seed": 1').replace('"rows"', '"rowz"'))


def test_a_run_whose_settings_were_damaged_is_not_gone_on_with(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "run", RunConfig().table())
    assert RunFolder.reopen(run.path, RunConfig().table()).path == run.path
    changed(run.path / "config.json")
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        RunFolder.reopen(run.path, RunConfig().table())


def test_a_run_whose_history_was_damaged_is_not_gone_on_with(tmp_path: Path) -> None:
    source = make_run(tmp_path / "made", ["a", "b"])
    run = RunFolder.create(tmp_path, "run", RunConfig().table())
    last = run.path / "rounds" / "0001"
    (last / "coresets").mkdir(parents=True)
    (last / "bank.safetensors").write_bytes((source / "bank.safetensors").read_bytes())
    (last / "history.json").write_bytes(sealed(CONTENT))
    changed(last / "history.json")
    with pytest.raises(RunError, match=r"history\.json is damaged"):
        run.restore(Federation(RunConfig()))


@pytest.mark.parametrize("name", ["metrics.json", "config.json"])
def test_no_report_of_damaged_figures(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run = make_run(tmp_path / "run", ["a", "b"])
    content = json.loads((run / name).read_text())
    (run / name).write_bytes(sealed(content))
    build_report(run)
    changed(run / name)
    with pytest.raises(RunError, match=r"is damaged"):
        build_report(run)
    monkeypatch.setattr("sys.argv", ["fedpatchcore", "report", str(run)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and name in told.replace("\n", "") and "Traceback" not in told
