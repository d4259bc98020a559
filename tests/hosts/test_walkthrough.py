"""Five sites and a server on hosts of their own: every command of docs/deployment.md, and what
a site can reach, and what can be read on the wire."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.bank.memory_bank import MemoryBank
from tests.hosts.network import Network, missing, run
from tests.hosts.walk import NAME, Walk, blocks
from tests.support.field import reachable, until

pytestmark = pytest.mark.timeout(3000)

SITES = ("plant-a", "plant-b", "plant-c", "plant-d", "plant-e")
LATER = "plant-f"
PORTS = (22, 80, 443, 8000, 8443, 9091, 9092, 9093, 9094, 39091)


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    if why := missing("nginx", "tcpdump"):
        pytest.skip(why)


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    root = Path(tempfile.mkdtemp(prefix="fpc-hosts-"))  # pytest's folders are closed to others
    root.chmod(0o755)
    with Network([*SITES, LATER]) as network:
        made = Walk(root, network)
        for host in ("server", *network.hosts):
            gate = network.gate(SITES[0] if host == "server" else host)
            made.names(host, network._name(host), gate)
        try:
            yield made
        finally:
            made.close()
            shutil.rmtree(Path("/etc/netns") / network._name("server"), ignore_errors=True)
            print("\n" + "\n".join(made.log))
            shutil.rmtree(root, ignore_errors=True)


def taught(text: str, site: str) -> str:
    """A block written for plant-a, for another site."""
    return text.replace("plant-a", site)


def capture(walk: Walk, site: str) -> tuple[subprocess.Popen, Path]:
    """Record a site's link at the server's end."""
    file = walk.root / f"{site}.pcap"
    device = f"e{walk.network.number[site]}"
    process = subprocess.Popen(
        [*walk.network.server.prefix, "tcpdump", "-i", device, "-w", str(file), "-U", "-s0"],
        stderr=subprocess.DEVNULL,
    )
    until(file.exists, 10, "tcpdump did not start")
    return process, file


def events(walk: Walk, name: str, what: str) -> list[dict]:
    file = walk.root / "server" / "runs" / name / "events.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [e for e in found if e["event"] == what]


def online(walk: Walk) -> int:
    told = walk.run("server", "flwr supernode list --format json")
    return sum(n["status"] == "online" for n in json.loads(told[told.index("{") :])["nodes"])


def test_every_command_of_the_walkthrough(walk: Walk) -> None:
    todo = blocks()
    told: dict[str, str] = {}
    sessions: dict[str, subprocess.Popen] = {}

    def step(*tags: str) -> str:
        """The next block of the document, which must have these tags."""
        block = todo.pop(0)
        assert (block.host, *filter(None, [block.mark])) == tags, block
        return block.text

    walk.run("server", step("server"))  # 1 certificates
    keys = step("site")  # 2 keys
    for site in SITES:
        walk.run(site, taught(keys, site))
    walk.run("server", step("server"))  # 3 serve
    sessions["serve"] = walk.sessions[-1]
    walk.run("server", step("server"))  # connection
    health = "python -m fedpatchcore.deploy.healthy https://127.0.0.1:8443/health pki/ca/ca.crt"
    walk.run("server", f"for i in $(seq 60); do {health} && exit 0; sleep 1; done; exit 1")
    register = step("server", "each-site")
    for site in SITES:
        walk.run("server", taught(register, site))
    told["doctor server"] = walk.run("server", step("server"))
    assert "✗" not in told["doctor server"]

    start, look = step("site"), step("site")  # 4 sites
    wire, pcap = capture(walk, SITES[0])
    for site in SITES:
        walk.run(site, taught(start, site))
        told[site] = walk.run(site, taught(look, site))
        for line in ("two users", "network", "worker's user", "other users"):
            assert f"✓ {line}" in told[site], told[site]
        assert "✗" not in told[site]
    until(lambda: online(walk) == 5, 120, "not all sites are online", every=2)

    told["status"] = told["first"] = walk.run("server", step("server"))
    assert "federated" in told["first"]  # 5 the result table
    assert "plant-e" in told["first"]
    first = MemoryBank.load(walk.root / "server" / "runs" / "first" / "bank.safetensors")
    assert first.sites == SITES
    wire.send_signal(signal.SIGTERM)
    wire.wait(10)
    walk.pcap = pcap

    walk.run("server", step("server"))  # resume: round 2
    assert [e["resumed_after"] for e in events(walk, "first", "started")] == [0, 1]
    again = [e for e in events(walk, "first", "trained") if e["round"] == 2]
    assert {e["site"] for e in again} == set(SITES)
    assert sum(e["extracted"] for e in again) == 0

    # 6 one more site, while everything runs
    walk.run(LATER, taught(keys, LATER))
    walk.run("server", taught(register, LATER))
    walk.run(LATER, taught(start, LATER))
    assert "✗" not in walk.run(LATER, taught(look, LATER))
    until(lambda: online(walk) == 6, 60, "the new site is not online", every=2)

    # 7 revoke plant-e
    listed = walk.run("server", "flwr supernode list --format json")
    nodes = json.loads(listed[listed.index("{") :])["nodes"]
    fifth = sorted(nodes, key=lambda n: n["created-at"])[4]["node-id"]
    walk.run("server", step("server", "revoke").replace("NODE_ID", fifth))
    node_log = walk.root / "plant-e" / "fedpatchcore-node.log"
    until(
        lambda: "does not know this key" in node_log.read_text(),
        90,
        f"the revoked site was not told: {node_log.read_text()[-800:]}",
    )
    walk.run("server", step("server"))
    without = MemoryBank.load(walk.root / "server" / "runs" / "without" / "bank.safetensors")
    assert without.sites == ("plant-a", "plant-b", "plant-c", "plant-d", "plant-f")

    # 8 a new certificate; stop, start, sites come back
    walk.run("server", step("server"))
    walk.end(sessions["serve"])
    time.sleep(5)
    walk.run("server", step("server", "restart"))
    walk.run("server", f"for i in $(seq 60); do {health} && exit 0; sleep 1; done; exit 1")
    until(lambda: online(walk) == 5, 180, "sites did not come back", every=2)
    assert not todo
    walk.told = told


def test_what_a_site_can_reach(walk: Walk) -> None:
    """Of the server port 8443 alone; of other sites nothing."""
    network = walk.network
    table = {}
    for site in SITES:
        prefix = network.hosts[site].prefix
        table[site, "server"] = [
            port for port in PORTS if reachable(f"{network.gate(site)}:{port}", prefix=prefix)
        ]
        for other in SITES:
            if other != site:
                table[site, other] = [
                    port
                    for port in (8443, 9094)
                    if reachable(f"{network.address(other)}:{port}", prefix=prefix, seconds=0.5)
                ]
    print("\n" + "\n".join(f"{a} → {b}: {ports}" for (a, b), ports in table.items() if ports))
    assert {tuple(table[site, "server"]) for site in SITES} == {(8443,)}
    assert not any(ports for (_, to), ports in table.items() if to != "server")
    listening = run(*network.server.prefix, "ss", "-ltnH").splitlines()
    outside = [line.split()[3] for line in listening if not line.split()[3].startswith("127.")]
    assert outside == ["0.0.0.0:8443"]


def test_nothing_crosses_the_wire_in_clear(walk: Walk) -> None:
    """A capture of plant-a's link over the whole first run; and of clear text, to prove the eye."""
    seen = walk.pcap.read_bytes()
    runs = walk.root / "server" / "runs" / "first" / "rounds"
    given = [Contribution.load(p) for p in sorted(runs.glob("*/coresets/*.safetensors"))]
    own = next(c for c in given if c.site == "plant-a")
    rows = own.parts["plate"].features
    pieces = [row[:8].astype(np.float32).tobytes() for row in rows]
    assert len(seen) > rows.nbytes  # the coreset went over this link
    words = (b"plant-a", b"fedpatchcore", b"NUMPY", b"plate", b"/v1/fleet", b"flwr")
    assert [w for w in words if w in seen] == []
    assert not any(piece in seen for piece in pieces)

    wire, pcap = capture(walk, SITES[0])
    network = walk.network
    code = (
        f"import socket; s = socket.create_connection(('{network.gate(SITES[0])}', 8443)); "
        "s.sendall(b'GET /v1/fleet plant-a'); s.close()"
    )
    subprocess.run([*network.hosts[SITES[0]].prefix, "python3", "-c", code], check=True)
    time.sleep(1)
    wire.send_signal(signal.SIGTERM)
    wire.wait(10)
    assert b"plant-a" in pcap.read_bytes()
    print(f"\ncapture of {len(seen):,} bytes at {NAME}: none of {len(pieces)} rows, no name in it")
