"""``run``, ``status``, ``stop``: with a stand-in for Flower's program, and once with Flower."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.errors import ConfigError, RunError
from fedpatchcore.runs.flowercli import FlowerCli
from fedpatchcore.runs.launch import LocalFlower, free_port
from tests.support.events import ROUND_ONE, asked, evaluated, finished, merged, trained
from tests.support.places import ROOT
from tests.support.products import write_product

# Answers each call with the next one prepared for it, the last one again and again.
FAKE = """#!{python}
import json, pathlib, sys, time
home = pathlib.Path({home!r})
words = sys.argv[1:]
kind = " ".join(w for w in (words[0], *words[1:]) if w in ("--stream", "--show", words[0], "list"))
with (home / "calls").open("a") as calls:
    calls.write(json.dumps([kind, *words]) + "\\n")
before = [json.loads(line)[0] for line in (home / "calls").read_text().splitlines()].count(kind)
prepared = json.loads((home / "answers.json").read_text())[kind]
out, code, pause = prepared[min(before, len(prepared)) - 1]
print(out, end="", flush=True)
time.sleep(pause)
sys.exit(code)
"""
FRAME = "╭─ Error ─────╮\n│ {} │\n╰─────────────╯\n"
GONE = (
    "Connection to the SuperLink is unavailable. Please check your network connection and "
    "'address' in the SuperLink connection configuration."
)


def answer(**facts: object) -> list:
    return [json.dumps({"success": True, **facts}, indent=2), 0, 0]


def refusal(text: str) -> list:
    told = f"Using SuperLink: here (127.0.0.1:1)\n Listing all runs...\n\n{text}"
    return [json.dumps({"success": False, "error-message": told}), 0, 0]


def run_is(status: str, **facts: object) -> list:
    return answer(runs=[{"run-id": "42", "status": status, "elapsed": 12.3, **facts}])


def log(*events: dict, code: int = 0, end: str = "", pause: float = 0) -> list:
    lines = ["Using SuperLink: here (127.0.0.1:1)", "\x1b[92mINFO \x1b[0m:  Starting logstream for"]
    lines += [f"\x1b[92mINFO \x1b[0m:      event {json.dumps(e)}" for e in events]
    return ["\n".join(lines) + "\n" + end, code, pause]


@pytest.fixture
def flwr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Prepare a stand-in's answers; returns a function that lists the calls it got."""
    home = tmp_path / "fake"
    home.mkdir()
    program = home / "flwr"
    program.write_text(FAKE.format(python=sys.executable, home=str(home)))
    program.chmod(0o755)
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "here"\n[superlink.here]\n'
        f'address = "127.0.0.1:{free_port()}"\ninsecure = true\n'
    )
    monkeypatch.setenv("FLWR_HOME", str(home))
    monkeypatch.setenv("FEDPATCHCORE_FLWR", str(program))

    def prepare(**answers: list) -> Callable[[], list[list[str]]]:
        named = {key.replace("__", " --").replace("_", " "): told for key, told in answers.items()}
        (home / "answers.json").write_text(json.dumps(named))
        return lambda: [json.loads(line)[1:] for line in (home / "calls").read_text().splitlines()]

    return prepare


STORY = (
    *ROUND_ONE,
    asked(1, "north", "south", of=1),
    trained("north"),
    trained("south"),
    merged(),
    evaluated("north", plate=0.9),
    evaluated("south", plate=0.8),
    finished(),
)
TAKEN = answer(**{"run-id": "42"})
TAKEN[0] = "Successfully started run 42\n" + TAKEN[0]


def test_a_run_is_submitted_followed_and_its_table_shown(cli, flwr) -> None:
    calls = flwr(
        run=[TAKEN], log__stream=[log(*STORY)], ls=[run_is("running"), run_is("finished:completed")]
    )
    code, out, err = cli("run", "here", "-c", "num-rounds=1", "--resume", "runs/old")
    assert (code, err) == (0, "")
    assert out.startswith("run 42\n")
    for words in ("round 1 of 1: asked 2 sites", "north: sent 500 rows", "finished", "federated"):
        assert words in out
    assert "/srv/b (on the server)" in out
    first = calls()[0]
    assert first[:3] == ["run", str(ROOT), "here"]
    assert first[-2:] == ["--format", "json"]
    assert ["log", "42", "here", "--stream"] in calls()


def test_a_typo_is_told_before_anything_is_sent(cli, flwr, tmp_path: Path) -> None:
    flwr()
    code, _, err = cli("run", "-c", "global-bank-sise=5")
    assert code == 2
    assert "did you mean 'global-bank-size'?" in err
    assert not (tmp_path / "fake" / "calls").exists()


def test_detached_names_the_next_commands(cli, flwr) -> None:
    flwr(run=[TAKEN])
    code, out, _ = cli("run", "here", "--detach")
    assert code == 0
    assert "fedpatchcore status 42 --connection here --watch" in out
    assert "fedpatchcore stop 42 --connection here" in out


@pytest.mark.parametrize(
    ("end", "status", "told"),
    [
        ("ERROR :     run stopped: no room left\nERROR : Exit Code: 201\n", "failed", "no room"),
        ("", "stopped", "gives no reason"),
    ],
)
def test_a_run_that_fails_is_one_line_and_exit_code_two(cli, flwr, end, status, told) -> None:
    flwr(
        run=[TAKEN],
        log__stream=[log(*ROUND_ONE, end=end)],
        ls=[run_is(f"finished:{status}", **{"status-details": "N/A"})],
    )
    code, _, err = cli("run")
    assert code == 2
    assert err.startswith(f"error: run 42 ended as 'finished:{status}'")
    assert told in err
    assert err.count("\n") == 1


def test_a_broken_stream_is_taken_up_again(flwr, tmp_path: Path) -> None:
    cut = log(*STORY[:4], code=1, end=FRAME.format(GONE))
    away = log(code=1, end=FRAME.format(GONE))
    flwr(log__stream=[cut, away, log(*STORY)], ls=[run_is("finished:completed")])
    lines, reasons, ticks = [], [], []
    flower = FlowerCli(program=tmp_path / "fake" / "flwr", pause=0.05)
    status = flower.follow(
        "42", lines.append, timeout=60, tick=lambda: ticks.append(1), again=reasons.append
    )
    assert status == "finished:completed"
    assert len(lines) == 4 + len(STORY)
    assert ticks
    assert len(reasons) == 2
    assert "cannot reach the SuperLink at 127.0.0.1" in reasons[0]
    assert "start it there, or correct address" in reasons[0]


def test_following_is_bounded(cli, flwr) -> None:
    away = log(code=1, end=FRAME.format(GONE))
    flwr(run=[TAKEN], log__stream=[away], ls=[refusal(GONE)])
    code, out, _ = cli("run", "--minutes", "0.03")
    assert code == 1
    assert "stopped waiting after 1.8 s: cannot reach the SuperLink" in out
    assert "fedpatchcore status 42" in out


def test_a_superlink_that_forgot_the_run_says_so(cli, flwr) -> None:
    unknown = log(code=1, end=FRAME.format("[code: 16] Run ID not found."))
    flwr(run=[TAKEN], log__stream=[unknown], ls=[refusal("[code: 16] Run ID not found.")])
    code, _, err = cli("run")
    assert code == 2
    assert "does not know this run" in err
    assert "--database" in err


def test_an_interrupt_leaves_the_run_alone(flwr, tmp_path: Path) -> None:
    flwr(run=[TAKEN], log__stream=[log(*ROUND_ONE, pause=60)], ls=[run_is("running")])
    with subprocess.Popen(
        [sys.executable, "-m", "fedpatchcore.cli", "run", "here"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        told = ""
        while "south: here" not in told:
            line = process.stdout.readline()
            assert line, told
            told += line
        process.send_signal(signal.SIGINT)
        told += process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert "the run goes on" in told
    assert "fedpatchcore stop 42 --connection here" in told
    assert "Traceback" not in told
    assert not any(words[0] == "stop" for words in map(json.loads, _calls(tmp_path)))


def _calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "fake" / "calls").read_text().splitlines()


def test_status_lists_runs_and_supernodes(cli, flwr) -> None:
    one = {"run-id": "42", "status": "running", "running-at": "2026-01-01 12:00:00Z"}
    one |= {"elapsed": 86.4, "network-traffic": {"total-bytes": 381_424_000}}
    two = {"run-id": "41", "status": "pending", "running-at": "N/A", "pending-at": "yesterday"}
    nodes = [
        {"node-id": "7", "owner-name": "none", "status": "online", "online-at": "12:01:00Z"},
        {"node-id": "8", "owner-name": "none", "status": "offline", "offline-at": "12:02:00Z"},
    ]
    flwr(ls=[answer(runs=[one, two])], supernode_list=[answer(nodes=nodes)])
    code, out, _ = cli("status")
    assert code == 0
    for words in ("42", "86 s", "381.4", "yesterday", "now, since 12:01:00Z", "offline"):
        assert words in out
    flwr(ls=[answer(runs=[])], supernode_list=[refusal("not in a simulation")])
    code, out, _ = cli("status")
    assert code == 0
    assert "no runs yet" in out
    assert "not in a simulation" in out


def test_status_of_a_run_is_rebuilt_from_its_log(cli, flwr) -> None:
    calls = flwr(ls=[run_is("running")], log__show=[log(*STORY[:5])])
    code, out, _ = cli("status", "42", "--connection", "here")
    assert code == 0
    assert "running  round 1 of 1: 1 of 2 sites answered" in out
    assert "extracting" in out
    assert ["log", "42", "here", "--show"] in calls()
    flwr(ls=[run_is("finished:completed")], log__show=[log(*STORY)])
    assert "federated" in cli("status", "42")[1]
    flwr(ls=[run_is("finished:stopped")], log__show=[log(*STORY[:5])])
    code, out, _ = cli("status", "42")
    assert code == 0
    assert "FAILED: finished:stopped" in out
    assert "unfinished" in out
    flwr(
        ls=[run_is("finished:completed")],
        log__stream=[log(*STORY)],
    )
    code, out, _ = cli("status", "--watch")
    assert code == 0
    assert out.startswith("run 42\n")
    assert "federated" in out


def test_stop_is_flowers_stop(cli, flwr) -> None:
    calls = flwr(stop=[answer(**{"run-id": "42"})])
    assert cli("stop", "42")[:2] == (0, "run 42 is stopped\n")
    assert calls() == [["stop", "42", "--format", "json"]]
    flwr(stop=[refusal("Run is already finished.")])
    code, _, err = cli("stop", "42")
    assert (code, err) == (2, "error: Flower: Run is already finished.\n")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (refusal(GONE), "start it there, or correct address in"),
        (refusal("[code: 16] Run ID not found."), "'fedpatchcore status' lists those it knows"),
        (
            refusal("Failed to read certificate file `/x.pem`: [Errno 2] No such file"),
            "see root-certificates in",
        ),
        (["Traceback (most recent call last):\nBoom: no\n", 1, 0], "Boom: no"),
        (["", 1, 0], "without a word"),
    ],
)
def test_errors_of_flower_are_one_line_and_name_the_fix(cli, flwr, said, told) -> None:
    flwr(ls=[said])
    code, _, err = cli("status", "42")
    assert code == 2
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1
    assert "Using SuperLink" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["status", "nonsense"], "'nonsense' is no run id"),
        (["stop", "--", "-1"], "'-1' is no run id"),
        (["status", "--connection", "plant"], "[superlink.plant]"),
        (["run", "plant"], 'address = "server:8000"'),
    ],
)
def test_wrong_words_never_reach_flower(cli, flwr, words, told, tmp_path: Path) -> None:
    flwr()
    code, _, err = cli(*words)
    assert code == 2
    assert told in err
    assert not (tmp_path / "fake" / "calls").exists()


def test_without_a_connection_flowers_own_simulation_is_not_started(tmp_path: Path) -> None:
    flower = FlowerCli({"FLWR_HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"no connection to a server is in .*config\.toml") as no:
        flower.connection()
    file = tmp_path / "config.toml"
    subprocess.run(str(no.value).split(" by: ")[1].split(" ; ")[0], shell=True, check=True)
    name, table = FlowerCli({"FLWR_HOME": str(tmp_path)}, "my-server").connection()
    assert (name, table["address"]) == ("my-server", "server:8000")
    file.write_text('[superlink]\ndefault = "local"\n[superlink.local]\naddress = ":local:"\n')
    with pytest.raises(ConfigError, match="give its name, my-server"):
        flower.connection()
    named = FlowerCli({"FLWR_HOME": str(tmp_path)}, "local")
    assert named.connection() == ("local", {"address": ":local:"})
    file.write_text("x = [")
    with pytest.raises(ConfigError, match="cannot read"):
        flower.connection()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    flower = FlowerCli(program=tmp_path / "flwr")
    for call in (flower.runs, lambda: flower.follow("1", print, timeout=5)):
        with pytest.raises(RunError, match="cannot start .*pip install flwr"):
            call()


def test_a_program_that_hangs_is_not_waited_for(flwr, tmp_path: Path) -> None:
    flwr(ls=[["", 0, 30]])
    flower = FlowerCli(program=tmp_path / "fake" / "flwr")
    with pytest.raises(RunError, match=r"gave no answer in 0\.5 s"):
        flower.ask("ls", timeout=0.5)


def test_the_wrong_kind_of_connection_is_told_apart(flwr, tmp_path: Path) -> None:
    """Something listens at the address, but the connection's TLS settings do not fit it."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "fake" / "config.toml").write_text(
            f'[superlink.a]\naddress = "{address}"\ninsecure = true\n'
            f'[superlink.b]\naddress = "{address}"\nroot-certificates = "ca.crt"\n'
        )
        told = {name: str(FlowerCli(superlink=name).error(GONE)) for name in "ab"}
    assert "give root-certificates instead of insecure" in told["a"]
    assert "must be the CA of the server's certificate" in told["b"]
    assert "must name '127.0.0.1'" in told["b"]


@pytest.mark.long
@pytest.mark.slow
def test_run_and_status_against_real_processes(
    weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "backbone": "squeezenet1_1",
        "layers": "features.4",
        "geometry": "full",
        "image-size": 64,
        "weights": weights_file,
        "coreset-size": 30,
        "global-bank-size": 50,
        "threads": 1,
        "heatmaps": 0,
        "expected-sites": 2,
        "out-dir": tmp_path / "runs",
    }
    told = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]

    def command(*words: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "fedpatchcore.cli", *map(str, words)],
            env={**os.environ, "FLWR_HOME": str(flower.home / "cli")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    with LocalFlower(simulation=False) as flower:
        failed = command("run", "here", *told, "-c", "wait-seconds=0")
        assert failed.returncode == 2, failed.stdout
        assert "0 of 2 sites online after 0 s: start the missing SuperNodes" in failed.stderr
        for seed, name in enumerate(("north", "south")):
            write_product(tmp_path / name / "plate", seed=1000 * seed)
            flower.supernode(name, tmp_path / name)
        done = command("run", "here", *told)
        assert done.returncode == 0, done.stdout + done.stderr
        for words in ("north: sent 30 rows", "round 1 of 1: asked 2 sites", "federated", "mean"):
            assert words in done.stdout
        run_id = done.stdout.split()[1]
        listed = command("status")
        assert listed.returncode == 0, listed.stderr
        for words in (run_id, "finished:completed", "finished:failed", "online"):
            assert words in listed.stdout
        one = command("status", run_id, "--connection", "here")
        assert "finished:completed  finished, 1 round" in one.stdout
        assert "north" in one.stdout
        assert "done" in one.stdout
        again = command("stop", run_id)
        assert again.returncode == 2
        assert "already finished" in again.stderr
        started = time.monotonic()
        flower.processes["superlink"].kill()
        flower.processes["superlink"].wait()
        away = command("status")
        assert away.returncode == 2
        assert "cannot reach the SuperLink at 127.0.0.1" in away.stderr
        assert time.monotonic() - started < 60
