"""``fedpatchcore doctor``: no check raises, hangs or hides another; lines and exit codes."""

from __future__ import annotations

import json
import shutil
import time
from functools import partial
from pathlib import Path

import pytest

from fedpatchcore.cli.doctor import node_config
from fedpatchcore.deploy.doctor import checks, device
from fedpatchcore.deploy.doctor.checks import Check, Checks, Skip, ok
from fedpatchcore.errors import ConfigError
from tests.support.products import write_product

# --- the runner ------------------------------------------------------------------------------


def test_a_check_neither_raises_nor_hangs_and_all_are_made() -> None:
    def skip() -> Check:
        raise Skip("no wire")

    def config() -> Check:
        raise ConfigError("bad setting")

    seen: list[Check] = []
    run = Checks(seen.append)
    assert run.run("fine", lambda: ok("well")).state == "ok"
    assert run.run("wire", skip) == Check("wire", "skipped", "not checked: no wire")
    assert not run.failed
    assert run.run("setting", config, fix="do that") == Check(
        "setting", "fail", "bad setting", "do that"
    )
    assert "ZeroDivisionError" in run.run("broken", lambda: ok(str(1 // 0))).told
    slow = run.run("slow", lambda: (time.sleep(1), ok("late"))[1], seconds=0.05)
    assert (slow.state, slow.told) == ("fail", "no result within 0.05 s")
    assert run.failed
    assert seen == run.results
    assert len(seen) == 5


def test_versions_are_compared_with_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.python().state == "ok"
    assert checks.libraries().state == "ok"
    monkeypatch.setattr(checks.metadata, "requires", lambda name: ["numpy>=99", "torch>=2"])
    told = checks.libraries()
    assert told.state == "fail"
    assert "(needs >=99)" in told.told
    assert told.fix == "pip install 'numpy>=99'"


def test_faiss_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.metadata, "requires", lambda name: ["faiss-gpu>=1.8", "torch>=2"])
    assert checks.libraries().state == "ok"
    real = checks._version
    monkeypatch.setattr(checks, "_version", lambda n: None if "faiss" in n else real(n))
    told = checks.libraries()
    assert told.state == "warn" and "search='approximate'" in told.told
    assert told.fix == "pip install 'faiss-gpu>=1.8'"


def test_a_gpu_is_needed_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from fedpatchcore.detection import which
    from fedpatchcore.devices import halves

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.gpu("auto").state == "ok"
    monkeypatch.setattr(halves, "native_half", lambda precision: True)
    assert device.gpu("cpu", "bfloat16").state == "ok"
    monkeypatch.setattr(halves, "native_half", lambda precision: False)
    assert device.gpu("cpu", "bfloat16").state == "warn"
    for name in ("cuda", "cuda:1", "all"):
        assert device.gpu(name).state == "fail"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda at: f"Great GPU {at}")
    monkeypatch.setattr(which, "serving", lambda device: "torch")
    assert device.gpu("cpu").state == "ok"
    for name, where, first in (
        ("auto", "cuda", "cuda"),
        ("cuda:1", "cuda:1", "cuda:1"),
        ("all", "cuda:0, cuda:1", "cuda:0"),
    ):
        told = device.gpu(name, "bfloat16")
        assert told.state == "ok"
        assert "Great GPU 0, Great GPU 1" in told.told
        assert f"features (bfloat16) on {where}, selections and searches on {first}," in told.told
        assert told.told.endswith("searches by torch")
    with pytest.raises(ConfigError, match="torch sees cuda:0 to cuda:1 alone"):
        device.gpu("cuda:2")


def test_folders_that_cannot_be_written_and_full_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checks.writable({"cache": tmp_path / "new" / "one"}).state == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    told = checks.writable({"cache": tmp_path / "file" / "cache"})
    assert told.state == "fail"
    assert told.fix == f"move the file {tmp_path / 'file'} away"
    usage = shutil.disk_usage(tmp_path)._replace(free=int(5e9))
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    assert checks.disk(tmp_path).state == "ok"
    assert checks.disk(tmp_path, needed=6e9, what="features").state == "warn"
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    assert checks.disk(tmp_path).state == "warn"


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def cli(cli):
    """``fedpatchcore doctor``."""
    return partial(cli, "doctor")


def test_exit_codes_and_lines(cli, tmp_path: Path) -> None:
    write_product(tmp_path / "data" / "plate")
    words = ["site", "-c", "backbone=filterbank", "--node-config"]
    code, out, _ = cli(*words, f"site='plant-a' data='{tmp_path / 'data'}'")
    assert code == 0
    assert "✓ data folder" in out
    assert "– server port" in out
    code, out, _ = cli(*words, f"data='{tmp_path / 'none'}'")
    assert code == 1
    assert "✗ data folder" in out
    assert "    → correct --node-config \"data='FOLDER'\"" in out
    code, out, _ = cli(*words, f"data='{tmp_path / 'none'}'", "--json")
    table = {check["name"]: check for check in json.loads(out)}
    assert code == 1
    assert table["data folder"]["state"] == "fail"
    assert set(table["weights"]) == {"name", "state", "told", "fix"}


def test_the_environment_counts_as_in_a_run(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_product(tmp_path / "data" / "plate")
    monkeypatch.setenv("FEDPATCHCORE_DATA", str(tmp_path / "data"))
    code, out, _ = cli("site", "-c", "backbone=filterbank")
    assert code == 0
    assert "plate: 6 train" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["site", "--superlink", "server"], "write HOST:PORT"),
        (["site", "--node-config", "site=plant-a"], "need quotes"),
        (["site", "--node-config", "plant-a"], "key='value' pairs"),
        (["site", "--node-config", "none.toml"], "No such file"),
        (["site", "--node-config", "dta='/data'"], "did you mean 'data'?"),
        (["site", "-c", "colour=red"], "unknown key 'colour'"),
        (["server", "--public", "8443"], "write HOST:PORT"),
    ],
)
def test_misuse_is_one_line_and_two(cli, words: list[str], told: str) -> None:
    code, _, err = cli(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert told in err


def test_node_config_is_read_as_flower_reads_it(tmp_path: Path) -> None:
    from flwr.common.config import parse_config_args

    for text in ("site='plant-a' data='/my data'", 'site="a"', "partition-id=0 num-partitions=5"):
        assert node_config(text) == parse_config_args([text])
    assert node_config("") == {}
    (tmp_path / "node.toml").write_text("site = 'plant-a'\n")
    assert node_config(str(tmp_path / "node.toml")) == {"site": "plant-a"}
