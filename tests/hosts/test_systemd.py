"""A site's two services under a real systemd: installed, started, kept apart, killed, stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.hosts.booted import Booted, missing
from tests.support.field import until
from tests.support.places import NGINX
from tests.support.products import write_product

pytestmark = pytest.mark.timeout(1800)

WORKER, NODE = "fedpatchcore-worker", "fedpatchcore-node"
SERVER = """
fedpatchcore certs init pki --host localhost
fedpatchcore certs key keys plant-a
cp pki/ca/ca.crt keys/ca.crt
mkdir -p "$FLWR_HOME"
cat > "$FLWR_HOME/config.toml" <<EOF
[superlink]
default = "fed"
[superlink.fed]
address = "127.0.0.1:8000"
root-certificates = "$PWD/pki/server/ca.crt"
EOF
setsid fedpatchcore serve pki/server --listen 127.0.0.1:8443 --state state > serve.log 2>&1 &
for i in $(seq 400); do
  python -m fedpatchcore.deploy.healthy https://localhost:8443/health pki/ca/ca.crt && break
  sleep 1
done
flwr supernode register keys/node.pub --name plant-a || { cat serve.log; exit 1; }
"""
INSTALL = """
fedpatchcore worker units --site plant-a --data images --superlink localhost:8443 \
  --root-certificates keys/ca.crt --key keys/node.key --install
setfacl -R -m u:fpc-worker:rX,o::---,d:u:fpc-worker:rX,d:o::--- images
systemctl start fedpatchcore-worker fedpatchcore-node
"""
RUN = """
fedpatchcore run -c backbone=filterbank -c geometry=full -c image-size=96 -c num-rounds=1 \
  -c min-sites=1 -c expected-sites=1 -c coreset-size=50 -c out-dir="$PWD/runs" -c run-name=first
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Booted]:
    """A server and a site on one host that systemd runs; both services are started."""
    if why := missing():
        pytest.skip(why)
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    made = Booted()
    write_product(made.root / "images" / "plate", train=10)
    with made:
        made.run(SERVER)
        made.run(INSTALL)
        until(lambda: health(made).get("state") == "idle", 300, "the worker does not answer")
        yield made


def health(host: Booted) -> dict:
    command = (
        "runuser -u fpc-node -- fedpatchcore worker health --json /run/fedpatchcore/worker.sock"
    )
    told = host.run(command, check=False)
    return json.loads(told) if told.startswith("{") else {}


def shown(host: Booted, unit: str, key: str) -> str:
    return host.run(f"systemctl show {unit} -p {key} --value")


def inside(host: Booted, unit: str, text: str, *spaces: str) -> str:
    """What shell lines print in the namespaces that a service runs in, as root."""
    spaces = spaces or ("-m", "-n")
    pid = shown(host, unit, "MainPID")
    return host.run(f"nsenter -t {pid} {' '.join(spaces)} sh -c '{text}'", check=False)


def test_both_are_there_and_a_run_goes_through_them(host: Booted) -> None:
    assert [shown(host, unit, "ActiveState") for unit in (WORKER, NODE)] == ["active", "active"]
    assert [shown(host, unit, "User") for unit in (WORKER, NODE)] == ["fpc-worker", "fpc-node"]

    def online() -> bool:
        told = host.run("flwr supernode list --format json")
        return [n["status"] for n in json.loads(told[told.index("{") :])["nodes"]] == ["online"]

    until(online, 300, "the node is not online", every=2)
    assert "federated" in host.run(RUN)
    assert (host.root / "runs").is_dir() or host.run("ls runs/first/bank.safetensors")
    log = host.run(f"journalctl -u {WORKER} --no-pager")
    for verb in ("facts", "train", "evaluate"):
        assert re.search(rf"\[plant-a\] {verb} of run \d+ from user fpc-node", log), log[-2000:]
    found = host.run("ls -ld /var/lib/fedpatchcore-worker /run/fedpatchcore/worker.sock")
    assert "drwx------" in found


def test_the_worker_has_no_network_and_no_rights(host: Booted) -> None:
    links = inside(host, WORKER, "ip -o link").splitlines()
    assert [line.split(":")[1].strip() for line in links] == ["lo"]
    assert inside(host, NODE, "ip -o link") == host.run("ip -o link")
    for unit in (WORKER, NODE):
        status = host.run(f"cat /proc/{shown(host, unit, 'MainPID')}/status")
        told = dict(re.findall(r"^(\w+):\s*(\S+)", status, re.MULTILINE))
        assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
        assert {told[key].strip("0") for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {""}


def test_the_node_sees_no_image_and_the_worker_writes_none(host: Booted) -> None:
    images = host.root / "images"
    assert "good" in host.run(f"ls {images}/plate/train")
    for place in (images, "/var/lib/fedpatchcore-worker"):
        seen = inside(host, NODE, f"ls -A {place}; stat -c %a {place}", "-m")
        assert seen == "0", (place, seen)
    assert "Permission denied" in host.run(
        "runuser -u fpc-node -- cat /etc/fedpatchcore/worker.toml", check=False
    )
    assert "plate" in inside(host, WORKER, f"ls {images}", "-m")
    for place in (f"{images}/x", "/etc/x", "/usr/x", "/srv/x"):
        assert "Read-only file system" in inside(host, WORKER, f"touch {place}", "-m")


def test_a_worker_that_is_killed_is_back_and_one_that_is_stopped_ends_well(host: Booted) -> None:
    before = health(host)["process"]
    host.run(f"kill -9 {shown(host, WORKER, 'MainPID')}")
    until(lambda: health(host).get("process", before) != before, 180, "it was not started again")
    assert shown(host, WORKER, "NRestarts") == "1"
    assert shown(host, NODE, "NRestarts") == "0"
    host.run(f"systemctl stop {WORKER} {NODE}")
    assert [shown(host, unit, "Result") for unit in (WORKER, NODE)] == ["success", "success"]
    assert not host.run("ls /run/fedpatchcore", check=False).endswith("worker.sock")
