"""The checks of a site's way to the server: port, certificate, clock, key and registration."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from urllib.request import getproxies_environment, proxy_bypass_environment

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fedpatchcore.deploy.doctor.checks import Check, Checks, Skip, fail, ok, warn
from fedpatchcore.deploy.network import HTTP_ERRORS, Address, Port
from fedpatchcore.runs.programs import app_command

__all__ = ["WayChecks", "clock"]

# Flower 1.41 takes a node's signature not more than 5 s in the future nor more than 305 s old.
AHEAD, BEHIND, NOTICEABLE = 5.0, 305.0, 2.0
KNOCK_SECONDS = 60.0


class WayChecks:
    """What lies between a site and its server.

    Args:
        site: the site's name, for the words of a fix.
        superlink: where the SuperNode will connect to; None skips what needs a connection.
        key: the node's private key.
    """

    def __init__(
        self,
        site: str,
        *,
        superlink: Address | None,
        root_certificates: Path | None,
        key: Path | None,
    ) -> None:
        self.site = site
        self.root_certificates = root_certificates
        self.key_file = key.expanduser() if key else None
        self.port = Port(superlink, root_certificates) if superlink else None
        self._usable_key = False

    def run(self, checks: Checks) -> None:
        """Look at everything anew, in order."""
        if self.port:
            self.port = Port(self.port.address, self.root_certificates)
        checks.run("server port", self.reach)
        checks.run("TLS", lambda: self.open().tls())
        checks.run("clock", lambda: clock(self.open()))
        checks.run("node key", self.key)
        checks.run("registration", self.registration, seconds=KNOCK_SECONDS + 5)

    def open(self) -> Port:
        """The server's port; raises Skip if none was given."""
        if self.port is None:
            raise Skip("--superlink HOST:PORT was not given")
        return self.port

    def reach(self) -> Check:
        """The port takes connections, by the way that Flower goes as well."""
        port = self.open()
        found = port.tcp()
        host = port.address.host
        if found.state != "ok" or not getproxies_environment().get("https"):
            return found
        if proxy_bypass_environment(host):
            return found
        return warn(
            f"{found.told}; HTTPS_PROXY is set, and Flower goes that way, not the one checked here",
            f"if the server can be reached directly: export NO_PROXY={host}",
        )

    def key(self) -> Check:
        """The node's key can be used, and only its owner can read it."""
        if self.key_file is None:
            raise Skip("--key node.key was not given (needed where the server knows its nodes)")
        how = f"fedpatchcore certs key {self.key_file.parent} SITE, and send node.pub to the server"
        try:
            mode = stat.S_IMODE(self.key_file.stat().st_mode)
            private = load_ssh_private_key(self.key_file.read_bytes(), None)
        except OSError as error:
            return fail(
                f"{self.key_file} cannot be read: {error.strerror}", f"name the file, or {how}"
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return fail(f"{self.key_file} is no OpenSSH private key without passphrase", how)
        curve = private.curve.name if isinstance(private, ec.EllipticCurvePrivateKey) else ""
        if curve != "secp384r1":
            return fail(
                f"{self.key_file} is no ECDSA P-384 key but {curve or 'of another kind'}", how
            )
        self._usable_key = True
        if mode & 0o077:
            return fail(
                f"{self.key_file} can be read by others (mode {mode:04o})",
                f"chmod 600 {self.key_file}",
            )
        return ok(f"{self.key_file}: ECDSA P-384, mode {mode:04o}")

    def registration(self) -> Check:
        """The SuperLink knows this node's key."""
        port = self.open()
        if not self._usable_key:
            raise Skip("no usable node key")
        if port.speaks != "tls":
            raise Skip("no trusted connection, so nothing is signed and sent")
        told = knock(port.address, self.root_certificates, self.key_file)
        answer, detail = told.get("answer", ""), told.get("detail", "")
        if answer == "registered":
            if told.get("node-authentication") == "off":
                return warn(
                    "the key is registered, but the SuperLink takes nodes without a key as well",
                    "at the server: start flower-superlink with --enable-supernode-auth",
                )
            return ok("the SuperLink knows this key")
        fixes = {
            "unknown-key": "at the server, with this site's node.pub: flwr supernode register "
            f"node.pub SUPERLINK --name {self.site or 'SITE'}",
            "refused": "set the clocks ('timedatectl set-ntp true'); is the key file damaged?",
            "closed": "use the address of the proxy (fedpatchcore proxy) or of the SuperLink",
            "unreachable": "start the SuperLink behind the proxy; look at its log",
        }
        words = {
            "unknown-key": "the SuperLink does not know this key",
            "refused": "the SuperLink refuses the signature",
            "closed": "this address does not pass Flower's calls on",
            "unreachable": "the SuperLink does not answer behind this address",
        }
        fix = fixes.get(answer, "compare the Flower versions here and at the server")
        return fail(f"{words.get(answer, 'an unexpected answer')} ({detail})", fix)

    def control(self) -> Check:
        """The control API cannot be reached from here."""
        try:
            status = self.open().request("POST", "/v1/control/list-runs").status
        except HTTP_ERRORS as error:
            raise Skip(f"the request was not answered ({error})") from None
        if status in (403, 404):
            return ok(f"not reachable through this address (status {status})")
        return warn(
            f"the control API is open at this address (status {status}): whoever reaches it may "
            "run code at every site",
            "put the proxy in front (fedpatchcore proxy)",
        )


def clock(port: Port) -> Check:
    """This clock against the ``Date`` of ``GET /health``, within what Flower's signatures bear."""
    try:
        ahead = port.request("GET", "/health").ahead
    except HTTP_ERRORS as error:
        raise Skip(f"GET /health was not answered ({error})") from None
    if ahead is None:
        raise Skip("the answer to GET /health has no Date")
    told = f"this clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    told = told if abs(ahead) >= 1.5 else "agrees with the server's to about 1 s"
    told += "" if port.speaks == "tls" else " (read over a connection that is not trusted)"
    fix = "set this machine's clock, and the server's: 'timedatectl set-ntp true' (chrony, ntp)"
    if ahead >= AHEAD or ahead <= -BEHIND:
        limit = f"{AHEAD:g} s ahead" if ahead > 0 else f"{BEHIND:g} s behind"
        return fail(f"{told}; the server refuses signatures from {limit} on", fix)
    return warn(told, fix) if abs(ahead) > NOTICEABLE else ok(told)


def knock(address: Address, root_certificates: Path | None, key: Path) -> dict[str, str]:
    """What ``python -m client_app.knock`` found; this library itself never loads Flower."""
    words = ["--superlink", str(address), "--key", str(key)]
    words += ["--root-certificates", str(root_certificates)] if root_certificates else []
    command, variables = app_command("client_app.knock", *words)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=KNOCK_SECONDS,
            check=False,
        )
        return json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"answer": "unreachable", "detail": f"nothing within {KNOCK_SECONDS:g} s"}
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"answer": "unexpected", "detail": last}
