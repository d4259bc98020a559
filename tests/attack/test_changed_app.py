"""An app that goes for the images, at sites whose worker and node are two users."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.privacy.ledger import Ledger
from tests.attack.conftest import ASKS, CONFIG, USERS, Apart
from tests.support.apart import as_user

pytestmark = pytest.mark.timeout(1800)

Loot = dict[str, dict[str, Any]]
SITES = tuple(USERS)
GIVEN = re.compile(r"GIVEN by (.*)")
REFUSALS = {  # of plant-a, whose word is dp-required
    "weights=/etc/passwd": "opens no file that a run names",
    "weights=an image": "opens no file that a run names",
    "attack": "takes part in no rehearsal of attacks",
    "image-size": "less than or equal to 2048",
    "coreset-size": "sends nothing without differential privacy",
    "batch-size": "less than or equal to 4096",
    "threads": "less than or equal to 1024",
    "workers": "less than or equal to 256",
    "heatmaps": "less than or equal to 1000",
    "dp-waves": "less than or equal to 65536",
    "dp-share-metrics": "run with -c dp-share-metrics=false",
    "infinite epsilon": "finite number",
    "unknown": "unknown key 'dp-required'",
    "a list": "valid integer",
    "run-folder=..": "a folder of results that is none",
    "run-folder=/": "a folder of results that is none",
    "run-folder=../../../": "a folder of results that is none",
    "no bank": "stays in the site's own log",
}
FRAMES = {
    "garbage": "no message of FedPatchCore",
    "http": "no message of FedPatchCore",
    "version": "speak different protocols",
    "kind": "unknown kind 99",
    "huge": "is the most taken here",
    "huge health": "is the most taken here",
    "deep": "is damaged",
    "empty": "is damaged",
    "answer": "",
}


@pytest.fixture(scope="module")
def loot(field: Apart, app: Path) -> Loot:
    """What the changed app got at each site, in a run that Flower carried to both."""
    before = {site: field.processes[f"worker-{site}"].pid for site in SITES}
    run = field.submit("attack", {**CONFIG, "dp": "moments", "dp-epsilon": 1.0}, app=app)
    assert field.wait(run, 1200) == "finished:failed"  # no site gave anything
    assert {site: field.processes[f"worker-{site}"].pid for site in SITES} == before
    assert not any(field.ended(f"worker-{site}") for site in SITES)
    homes = {site: field.home_of(site) / "cache" / "loot.json" for site in SITES}
    return {site: json.loads(home.read_text()) for site, home in homes.items()}


def images(field: Apart) -> list[Path]:
    """Pictures of parts, without masks."""
    found = [path for site in SITES for path in sorted(field.sites[site].rglob("*.png"))]
    return [path for path in found if "ground_truth" not in path.parts]


def test_where_one_user_has_both_it_gets_everything(field: Apart, app: Path) -> None:
    """The same code as the worker's user: what the separation is worth, and that it can fail."""
    code = (
        "import json; from pathlib import Path\n"
        "from client_app import work; from fedpatchcore.config import NodeConfig\n"
        "from fedpatchcore.service.request import Request\n"
        f"settings = json.loads({json.dumps(CONFIG)!r})\n"
        "told = work.own_service(NodeConfig(site='plant-a'), Request('train', settings))\n"
        "print('FOUND', json.dumps([work.opened(), told]))"
    )
    done = subprocess.run(
        [*as_user(USERS["plant-a"][0]), sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(app), "HOME": "/", "FEDPATCHCORE_HOME": "/nowhere"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FOUND" in done.stdout, done.stderr[-2000:]
    opened, told = json.loads(done.stdout.split("FOUND")[1])
    assert len(opened) > len(images(field)) / 2  # plant-a's, its folder and its file
    assert told == "GIVEN"  # without any word of the site


@pytest.mark.parametrize("site", SITES)
def test_no_image_is_got(field: Apart, loot: Loot, site: str) -> None:
    got = loot[site]
    assert got["uid"] == USERS[site][1]
    assert got["opened"] == []
    assert "Permission denied" in got["own-service"]
    place = str(field.place)
    seen = {path: sha for path, sha in got["walked"].items() if path.startswith(place)}
    assert list(seen) == [f"{place}/decoy.png"]  # the walk has eyes
    secret = {hashlib.sha256(path.read_bytes()).hexdigest() for path in images(field)}
    assert not secret & set(got["walked"].values())


@pytest.mark.parametrize("site", SITES)
def test_nothing_of_the_workers_process_is_seen_nor_touched(
    field: Apart, loot: Loot, site: str
) -> None:
    workers = {str(pid) for pid in _workers(field)}
    assert len(workers) >= len(SITES)
    seen = loot[site]["proc"]
    assert workers <= set(seen)
    assert all(seen[worker] == [] for worker in workers)
    assert loot[site]["replaced"] == []


@pytest.mark.parametrize("site", SITES)
def test_no_picture_is_in_any_answer(field: Apart, loot: Loot, site: str) -> None:
    told = (field.home_of(site) / "cache" / "answers.bin").read_bytes()
    assert len(told) > 10_000
    for path in images(field):
        pixels = np.asarray(Image.open(path))
        for piece in (path.read_bytes()[200:232], pixels[32].tobytes()[:48]):
            assert len(piece) >= 32
            assert piece not in told


def test_no_more_leaves_than_the_ledger_grants(field: Apart, loot: Loot) -> None:
    """1,000 times with other seeds, rounds, runs and budgets: as many releases as were charged."""
    asked: Mapping[str, int] = loot["plant-a"]["asked"]
    assert sum(asked.values()) == ASKS["plant-a"]
    given = sum(count for reason, count in asked.items() if GIVEN.fullmatch(reason))
    ledger = Ledger(field.place / "plant-a" / "worker" / "ledgers" / "plant-a")
    charges = ledger.charges()
    assert 0 < given == len(charges)
    assert {charge.mechanism for charge in charges} == {"moments"}
    assert ledger.spent(1e-5) <= 4.0
    rest = [reason for reason in asked if not GIVEN.fullmatch(reason)]
    words = ("privacy budget of plant-a", "without differential privacy", "600 requests an hour")
    assert {word for word in words if any(word in reason for reason in rest)} == set(words)
    assert all(any(word in reason for word in words) for reason in rest)


def test_settings_and_frames_are_refused_by_name(loot: Loot) -> None:
    told = loot["plant-a"]["settings"]
    assert {name for name in REFUSALS if REFUSALS[name] not in told[name]} == set(), told
    for site in SITES:
        frames = loot[site]["frames"]
        assert {name for name in FRAMES if FRAMES[name] not in frames[name]} == set(), frames
        assert not any("Away" in reason for reason in frames.values())


def test_a_name_is_the_workers_and_a_worker_serves_its_own_node(loot: Loot) -> None:
    for site, other in (SITES, SITES[::-1]):
        assert loot[site]["names"]["name"] == f"GIVEN by {site}"
        assert f"does not serve user {USERS[site][1]}" in loot[site]["names"][other]


@pytest.mark.parametrize("site", SITES)
def test_the_workers_log_names_each_refusal(field: Apart, loot: Loot, site: str) -> None:
    log = field.log(f"worker-{site}")
    got = loot[site]
    reasons = [*got["settings"].values(), *got["frames"].values(), *got["asked"]]
    for reason in (one for one in reasons if not GIVEN.fullmatch(one)):
        if REFUSALS["no bank"] in reason:
            assert "the message asks for verdicts and brings no bank" in log
        else:
            assert reason.split(": ask again in")[0] in log
    other = next(one for one in SITES if one != site)
    assert f"refused user {USERS[other][1]}" in log
    refused = sum(count for one, count in got["asked"].items() if not GIVEN.fullmatch(one))
    assert log.count("ERROR") >= refused


def test_an_honest_run_afterwards_is_as_ever(field: Apart, loot: Loot, undisturbed: bytes) -> None:
    """The open site gives the bank it always gave; the other holds to its word.

    What the changed app used up of plant-a's requests an hour is given back by a restart.
    """
    field.kill("worker-plant-a")
    field.start_worker("plant-a")
    run = field.submit("honest", CONFIG)
    assert field.wait(run) == "finished:completed"
    assert field.bank("honest") == undisturbed
    told = field.flwr("log", run, "--show")
    assert re.search(r"plant-a.*without differential privacy", told)


def _workers(field: Apart) -> list[int]:
    """Processes of the workers' users."""
    users = {worker for worker, _ in USERS.values()}
    return [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if entry.stat().st_uid in users and str(field.place) in (entry / "cmdline").read_text()
    ]
