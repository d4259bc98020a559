"""Finished runs in a real MLflow store of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.control.room import Room
from fedpatchcore.control.tracking import EXPERIMENT, Tracker
from fedpatchcore.errors import ControlError
from tests.support.control import add_run, run_events
from tests.support.events import merged

pytest.importorskip("mlflow", reason="MLflow is not installed: pip install '.[mlflow]'")


@pytest.fixture(autouse=True)
def store_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def test_settings_figures_a_round_and_the_report(room: Room, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    folder = add_run(room, "one", [*run_events()[:-1], merged(2), run_events()[-1]], num_rounds=2)
    (folder / "report.html").write_text("<h1>report</h1>")
    add_run(room, "going", run_events(over=False, at=1000))
    room.mirror.look()
    tracker = Tracker(str(tmp_path / "mlflow"), room.root, room.database, room.trail)
    assert tracker.look() == 1
    assert tracker.look() == 0  # once
    client = MlflowClient(tracking_uri=(tmp_path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.run_name == "one" and run.info.status == "FINISHED"
    assert run.data.params["num-rounds"] == "2" and len(run.data.params) > 60
    assert run.data.metrics["image_auroc/plate/north"] == 0.9
    assert [m.step for m in client.get_metric_history(run.info.run_id, "bank_rows")] == [1, 2]
    assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["report.html"]
    assert run.data.tags["fedpatchcore.started_by"] == "command line"
    room.trail.verify()


def test_a_server_that_is_away_is_told_in_a_line_and_tried_again(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    add_run(room, "one")
    room.mirror.look()
    away = Tracker("http://127.0.0.1:1", room.root, room.database, room.trail)
    with pytest.raises(ControlError, match=r"one cannot be logged to http://127.0.0.1:1: "):
        away.look()
    assert Tracker(str(tmp_path / "m"), room.root, room.database, room.trail).look() == 1
