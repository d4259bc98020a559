"""Everything the server needs before sites connect, looked at without disturbing anything."""

from __future__ import annotations

import ipaddress
import json
import socket
import stat
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from fedpatchcore.config import RunConfig
from fedpatchcore.deploy.certs import read_certificate
from fedpatchcore.deploy.doctor.checks import (
    INSTALL,
    Check,
    Checks,
    Skip,
    disk,
    fail,
    libraries,
    ok,
    own_addresses,
    python,
    superlink_process,
    warn,
    writable,
)
from fedpatchcore.deploy.doctor.device import gpu
from fedpatchcore.deploy.doctor.public import PublicChecks
from fedpatchcore.deploy.network import HTTP_ERRORS, SOON_DAYS, Address, Port
from fedpatchcore.deploy.refused_certificate import renewal
from fedpatchcore.runs.programs import flower_program

__all__ = ["ServerDoctor"]

NODE_KEYS = "--enable-supernode-auth"
NO_INSTALL = "--disable-runtime-dependency-installation"
NO_INSTALL_VARIABLE = "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"
MAKE_CERTIFICATES = "fedpatchcore certs init pki --host NAME; then --certificates pki/server"
TRY_SECONDS = 1.0
NODES_SECONDS = 60.0


class ServerDoctor:
    """The checks of the server.

    Args:
        certificates: folder with server.crt, server.key and ca.crt.
        superlink: the SuperLink's private address.
        public: the proxy's address, as sites use it.
        state: folder of the SuperLink's database.
        out: folder of the runs' results.
        connection: name of the Flower connection that ``flwr`` uses here.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        certificates: Path | None = None,
        superlink: Address,
        public: Address | None = None,
        state: Path | None = None,
        out: Path = Path("runs"),
        connection: str | None = None,
    ) -> None:
        self.config = config
        self.certificates = certificates.expanduser() if certificates else None
        self.superlink = superlink
        self.public = public
        self.folders = {"results": out} | ({"state": state} if state else {})
        self.connection = connection
        ca = self.certificates / "ca.crt" if self.certificates else None
        get_ca = "name the folder with the federation's ca.crt: --certificates FOLDER"
        self.private_port = Port(superlink, ca, start="start flower-superlink", get_ca=get_ca)
        public_port = Port(public, ca, get_ca=get_ca) if public else None
        self.proxy = PublicChecks(public_port, superlink)

    def run(self, checks: Checks) -> None:
        """Make all checks in order."""
        checks.run("Python", python, fix=INSTALL)
        checks.run("libraries", libraries, fix=INSTALL)
        checks.run("GPU", lambda: gpu(self.config.device), seconds=60)
        checks.run("certificate", self._certificate, fix=MAKE_CERTIFICATES)
        checks.run("SuperLink port", self.private_port.tcp)
        checks.run("SuperLink TLS", lambda: self._tls(self.private_port))
        checks.run("SuperLink", self._health)
        checks.run("private", self._private)
        checks.run("options", self._options)
        checks.run("nginx", self.proxy.nginx)
        checks.run("public port", lambda: self.proxy.open().tcp())
        checks.run("public TLS", lambda: self._tls(self.proxy.open()))
        checks.run("proxy", self.proxy.passes_on)
        checks.run("closed calls", self.proxy.closed)
        checks.run("folders", lambda: writable(self.folders))
        for what, folder in self.folders.items():
            checks.run(f"disk {what}", lambda folder=folder: disk(folder))
        checks.run("nodes", self._nodes, seconds=NODES_SECONDS + 5)

    def _tls(self, port: Port) -> Check:
        if self.certificates is None and port.reachable and port.peek():
            raise Skip("--certificates FOLDER was not given")
        return port.tls()

    def _certificate(self) -> Check:
        folder = self.certificates
        if folder is None:
            raise Skip("--certificates FOLDER was not given")
        one, ca = read_certificate(folder / "server.crt"), read_certificate(folder / "ca.crt")
        shown = x509.load_pem_x509_certificate(one.path.read_bytes())
        told = f"{one.path} for {', '.join(one.names) or 'no name'}"
        path = folder / "server.key"
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            return fail(f"{path} cannot be read: {error.strerror}", renewal())
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return fail(f"{path} is no PEM private key without passphrase", renewal())
        if key.public_key() != shown.public_key():
            return fail(f"{path} is not the key of {one.path}", renewal())
        try:
            shown.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.path.read_bytes()))
        except (ValueError, TypeError, InvalidSignature):
            return fail(
                f"{one.path} was not signed by {ca.path} but by {one.issuer}",
                "put the ca.crt that sites have beside it, or renew it with that CA: " + renewal(),
            )
        left, what = min((one.days_left(), "it"), (ca.days_left(), "the CA"))
        if left < 0:
            return fail(f"{told}: {what} has expired", renewal("CA" if what != "it" else ""))
        if mode & 0o077:
            return fail(f"{path} can be read by others (mode {mode:04o})", f"chmod 600 {path}")
        told += f"; signed by the CA, key fits (mode {mode:04o}), {left:.0f} days left"
        if left < SOON_DAYS:
            return warn(told, renewal("CA" if what != "it" else ""))
        return ok(told)

    def _health(self) -> Check:
        try:
            status = self.private_port.request("GET", "/health").status
        except HTTP_ERRORS as error:
            return fail(f"GET /health was not answered ({error})", "look at flower-superlink's log")
        if status != 200:
            return fail(f"GET /health: status {status}", "is another program at this port?")
        return ok(f"answers at {self.superlink}")

    def _private(self) -> Check:
        """The SuperLink's port must be open on loopback alone: it serves the control API."""
        if not self.private_port.reachable:
            raise Skip(f"{self.superlink} cannot be reached")
        mine = own_addresses()
        port = self.superlink.port
        found = socket.getaddrinfo(self.superlink.host, port, type=socket.SOCK_STREAM)
        numbers = {str(entry[4][0]) for entry in found}
        if not any(ipaddress.ip_address(n).is_loopback for n in numbers) and not numbers & mine:
            raise Skip(f"the SuperLink is on another machine ({', '.join(sorted(numbers))})")
        if self.public is not None and self.public.port == port:
            raise Skip("the proxy listens on the same port number")
        answering = sorted(host for host in mine if _takes(host, port))
        if answering:
            return warn(
                f"port {port} answers at {', '.join(answering)} too: whoever reaches it may run "
                "code at every site",
                f"start flower-superlink with --host 127.0.0.1, or close port {port} in the "
                "firewall",
            )
        return ok(
            f"port {port} answers on loopback alone, not at {', '.join(sorted(mine)) or 'others'}"
        )

    def _options(self) -> Check:
        """How the SuperLink was started, where its process can be seen."""
        found = superlink_process(self.superlink.port)
        if found is None:
            options = f"{NODE_KEYS} and {NO_INSTALL} (or {NO_INSTALL_VARIABLE}=1)"
            raise Skip(f"no SuperLink process can be seen here; start it with {options}")
        words, variables = found
        lacking = {}
        if NO_INSTALL not in words and f"{NO_INSTALL_VARIABLE}=1" not in variables:
            lacking[NO_INSTALL] = "it installs the app's dependencies anew for every run"
        if NODE_KEYS not in words:
            lacking[NODE_KEYS] = "it takes nodes that nobody registered"
        if lacking:
            return warn("; ".join(lacking.values()), f"flower-superlink {' '.join(lacking)} ...")
        return ok("it installs nothing at run time and takes registered nodes only")

    def _nodes(self) -> Check:
        if not self.connection:
            raise Skip("--connection NAME (in Flower's config.toml) was not given")
        command = [str(flower_program("flwr")), "supernode", "list"]
        try:
            done = subprocess.run(
                [*command, self.connection, "--format", "json"],
                capture_output=True,
                text=True,
                timeout=NODES_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return fail(
                f"flwr gave no answer within {NODES_SECONDS:g} s", "check the connection's address"
            )
        try:
            table = json.loads(done.stdout[done.stdout.index("{") :])
        except ValueError:
            table = {}
        if (nodes := table.get("nodes")) is None:
            told = table.get("error-message") or done.stdout + done.stderr
            return fail(
                f"'flwr supernode list' failed: {' '.join(told.split())[-300:] or 'nothing said'}",
                f"check [superlink.{self.connection}] in Flower's config.toml ($FLWR_HOME, default "
                "~/.flwr): address and root-certificates",
            )
        away = [node["node-id"] for node in nodes if node["status"] != "online"]
        if not nodes:
            return warn(
                "no node is registered",
                f"flwr supernode register node.pub {self.connection} --name SITE, for each site",
            )
        told = f"{len(nodes)} registered, {len(nodes) - len(away)} online"
        if away:
            return warn(
                f"{told}; not online: {', '.join(away)}",
                "start flower-supernode at these sites; there, 'fedpatchcore doctor site' helps",
            )
        return ok(told)


def _takes(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), TRY_SECONDS).close()
    except OSError:
        return False
    return True
