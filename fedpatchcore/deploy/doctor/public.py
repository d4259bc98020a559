"""The checks of the address that sites use: the proxy, what it passes on and what it keeps out."""

from __future__ import annotations

from fedpatchcore.deploy.doctor.checks import Check, Skip, fail, ok, warn
from fedpatchcore.deploy.network import HTTP_ERRORS, Address, Port
from fedpatchcore.errors import ConfigError
from fedpatchcore.runs.programs import nginx_program

__all__ = ["PublicChecks"]

CLOSED = ("/v1/control/list-runs", "/v1/runtime/get-nodes")


class PublicChecks:
    """The proxy in front of a SuperLink.

    Args:
        port: the proxy's, as sites use it; None skips what needs it.
        superlink: the address behind it.
    """

    def __init__(self, port: Port | None, superlink: Address) -> None:
        self.port = port
        self.superlink = superlink

    def open(self) -> Port:
        """The proxy's port; raises Skip if none was given."""
        if self.port is None:
            raise Skip("--public HOST:8443 was not given")
        return self.port

    def nginx(self) -> Check:
        """nginx is installed on this machine."""
        try:
            return ok(str(nginx_program()))
        except ConfigError:
            return warn(
                "not found on this machine; the proxy needs it, unless it runs elsewhere",
                "apt-get install nginx-light (or the like)",
            )

    def passes_on(self) -> Check:
        """Flower's calls reach the SuperLink through the proxy."""
        port = self.open()
        try:
            health = port.request("GET", "/health").status
            answer = port.request("POST", "/v1/fleet/pull-messages")
        except HTTP_ERRORS as error:
            return fail(f"a request was not answered ({error})", "look at nginx's log")
        if answer.status in (502, 503, 504):
            return fail(
                f"the proxy answers, but does not reach the SuperLink (status {answer.status})",
                f"start flower-superlink at {self.superlink}; its certificate must be signed by "
                "ca.crt and name 'superlink' (fedpatchcore certs server does so); see nginx's log",
            )
        if answer.status in (403, 404, 405):
            return fail(
                f"Flower's calls are not passed on (status {answer.status})",
                "write the configuration anew: fedpatchcore proxy CERTIFICATES -o proxy.conf, and "
                "restart nginx",
            )
        if not 400 <= answer.status < 500 or health != 200:
            return fail(
                f"unexpected answers: /health {health}, an unsigned call {answer.status}",
                "is this the proxy's port? fedpatchcore proxy writes its configuration",
            )
        return ok(f"/health {health}; an unsigned call gets {answer.status} from the SuperLink")

    def closed(self) -> Check:
        """The calls that sites must not make do not."""
        port = self.open()
        opened = []
        for path in CLOSED:
            try:
                status = port.request("POST", path).status
            except HTTP_ERRORS as error:
                raise Skip(f"{path} was not answered ({error})") from None
            opened += [f"{path} ({status})"] if status not in (403, 404) else []
        if opened:
            return fail(
                f"reachable for sites: {', '.join(opened)}; they may run code at every site",
                "put the proxy in front: fedpatchcore proxy CERTIFICATES -o proxy.conf && nginx "
                "-c $PWD/proxy.conf, and keep the SuperLink on 127.0.0.1",
            )
        return ok("the control and runtime APIs cannot be reached through this address")
