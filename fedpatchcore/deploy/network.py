"""Looking at a TLS port step by step: name, TCP, handshake, HTTP; each failure with its cause.

Only the standard library's sockets, with a limit of 5 s a step. What is sent is harmless: a
handshake, ``GET /health`` and empty requests that carry no identity.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from cryptography import x509

from fedpatchcore.deploy.certs import read_certificate
from fedpatchcore.deploy.doctor.checks import Check, Skip, fail, ok, warn
from fedpatchcore.deploy.refused_certificate import refusal, renewal
from fedpatchcore.errors import ConfigError

__all__ = ["HTTP_ERRORS", "SOON_DAYS", "Address", "Answer", "Port"]

SECONDS = 5.0
SOON_DAYS = 30
HTTP_ERRORS = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Address:
    """A host and a port, as in ``fed.example.com:8443``."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From ``HOST:PORT``; raises ConfigError for anything else."""
        host, colon, port = text.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (colon and host and port.isdigit() and 0 < int(port) < 65536) or "/" in host:
            raise ConfigError(f"'{text}' is no address: write HOST:PORT, e.g. server:8443")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, and by how many seconds this clock is ahead of the server's (or None)."""

    status: int
    body: str
    ahead: float | None


class Port:
    """One address under examination; each step tells what the next may use.

    Args:
        root_certificates: the CA file that must have signed the server's certificate; None
            trusts this system's authorities, as a SuperNode without ``--root-certificates`` does.
        start: what to do when nothing listens there.
        get_ca: where the right CA file comes from.
    """

    def __init__(
        self,
        address: Address,
        root_certificates: Path | None,
        *,
        start: str = "start the proxy at the server (fedpatchcore proxy ...; nginx -c ...)",
        get_ca: str = "get ca.crt from whoever runs the server; name it with --root-certificates",
    ) -> None:
        self.address = address
        self.root_certificates = root_certificates
        self.start = start
        self.get_ca = get_ca
        self.reachable = False
        self.speaks: str = ""  # "tls" (trusted), "untrusted" or "plain", once that is known

    def tcp(self) -> Check:
        """The name resolves and the port takes connections."""
        where = self.address
        try:
            found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a host name"
            return fail(
                f"the name '{where.host}' is unknown here ({reason})",
                f"check the spelling; ask the network's DNS ('getent hosts {where.host}') or add "
                "a line to /etc/hosts",
            )
        numbers = ", ".join(dict.fromkeys(str(entry[4][0]) for entry in found))
        try:
            socket.create_connection((where.host, where.port), SECONDS).close()
        except TimeoutError:
            return fail(
                f"{where} ({numbers}) does not answer within {SECONDS:g} s: most likely a firewall "
                "drops the packets, or the machine is off",
                f"open TCP port {where.port} outwards from here and inwards at the server; try "
                f"'nc -vz {where.host} {where.port}'",
            )
        except ConnectionRefusedError:
            return fail(
                f"{where} ({numbers}) refuses the connection: the machine is there, but nothing "
                "listens on this port (or a firewall rejects it)",
                f"{self.start}, or correct the port",
            )
        except OSError as error:
            return fail(
                f"{where} ({numbers}) cannot be reached: {error.strerror or error}",
                "check the address and this machine's network and route ('ip route get "
                f"{numbers.split(',')[0]}')",
            )
        self.reachable = True
        return ok(f"{where} ({numbers}) takes connections")

    def tls(self) -> Check:
        """The handshake: chain, dates and name against the CA file, and the days left."""
        if not self.reachable:
            raise Skip(f"{self.address} cannot be reached")
        ca = self.root_certificates
        who = f"the CA in {ca}" if ca else "this system's authorities"
        try:
            context = self._context(trusted=True)
        except FileNotFoundError:
            self.peek()
            return fail(f"CA file {ca} does not exist", self.get_ca)
        except OSError as error:  # ssl.SSLError is one
            self.peek()
            reason = "no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
            return fail(f"CA file {ca} cannot be used: {reason}", self.get_ca)
        try:
            with self._connect(context) as stream:
                self.speaks = "tls"
                mine = x509.load_der_x509_certificate(stream.getpeercert(binary_form=True))
                kind = stream.version()
        except ssl.SSLCertVerificationError as error:
            shown = self.peek()
            return refusal(
                error, shown=shown, host=self.address.host, who=who, ca=ca, get_ca=self.get_ca
            )
        except (ssl.SSLError, OSError) as error:
            return self._no_tls(error)
        ends = {"server certificate": mine.not_valid_after_utc}
        if ca:
            ends["CA"] = read_certificate(ca.expanduser()).not_after
        what, end = min(ends.items(), key=lambda item: item[1])
        left = (end - datetime.now(UTC)).total_seconds() / 86400
        told = f"{kind}, signed by {who}, made for {self.address.host}; "
        told += f"{what} good for {left:.0f} days"
        if left < SOON_DAYS:
            return warn(told, f"renew it before {end:%Y-%m-%d}: {renewal(what)}")
        return ok(told)

    def request(self, method: str, path: str) -> Answer:
        """Send one request without identity; raises OSError or HTTPException.

        Over a port whose certificate was not accepted this still works: what is asked here is
        no secret, and the answer is only shown.
        """
        if not self.speaks:
            raise Skip(f"no connection to {self.address}")
        where = self.address
        line = http.client.HTTPConnection(where.host, where.port, timeout=SECONDS)
        if self.speaks != "plain":
            context = self._context(trusted=self.speaks == "tls")
            line = http.client.HTTPSConnection(
                where.host, where.port, timeout=SECONDS, context=context
            )
        kind = {"Content-Type": "application/protobuf", "Accept": "application/protobuf"}
        try:
            line.connect()
            before = datetime.now(UTC)
            line.request(method, path, body=b"" if method == "POST" else None, headers=kind)
            answer = line.getresponse()
            after = datetime.now(UTC)
            body = answer.read(4096).decode(errors="replace")
            return Answer(
                answer.status, body, _ahead(answer.getheader("Date"), before + (after - before) / 2)
            )
        finally:
            line.close()

    def _context(self, *, trusted: bool) -> ssl.SSLContext:
        if trusted:
            ca = self.root_certificates
            return ssl.create_default_context(cafile=str(ca.expanduser()) if ca else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def _connect(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        where = self.address
        raw = socket.create_connection((where.host, where.port), SECONDS)
        try:
            return context.wrap_socket(raw, server_hostname=where.host)
        except BaseException:
            raw.close()
            raise

    def peek(self) -> x509.Certificate | None:
        """The certificate shown, whoever signed it; notes that the port speaks TLS."""
        try:
            with self._connect(self._context(trusted=False)) as stream:
                self.speaks = "untrusted"
                return x509.load_der_x509_certificate(stream.getpeercert(binary_form=True))
        except (OSError, ValueError):
            return None

    def _no_tls(self, error: OSError) -> Check:
        self.speaks = "plain"
        try:
            status = self.request("GET", "/health").status
        except HTTP_ERRORS:
            self.speaks = ""
            return fail(
                f"no TLS handshake with {self.address}: {error.strerror or error}",
                "check that this is the port of the proxy or the SuperLink, and that nothing in "
                "between (a TLS-inspecting firewall) interrupts",
            )
        return fail(
            f"{self.address} speaks plain HTTP (status {status}), no TLS: anyone on the way can "
            "read and change what is sent",
            "use the proxy's port; or start the SuperLink with --ssl-certfile, --ssl-keyfile and "
            "--ssl-ca-certfile instead of --insecure",
        )


def _ahead(date: str | None, now: datetime) -> float | None:
    """Seconds by which ``now`` is ahead of an HTTP date, which is cut to whole seconds."""
    try:
        server = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return (now - server.astimezone(UTC)).total_seconds() - 0.5
