"""The server's three programs: SuperLink, ServerApp executor, and the proxy in front.

The SuperLink listens on a private address with its state on disk; the executor runs ServerApps
in processes of their own, so that a run outlives a restart of the SuperLink; nginx is the only
thing sites reach.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedpatchcore.deploy.certs import read_certificate
from fedpatchcore.deploy.healthy import healthy
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.proxy import nginx_configuration
from fedpatchcore.deploy.supervise import Program
from fedpatchcore.errors import CertificateError, RunError
from fedpatchcore.files import own_folder, private_folder
from fedpatchcore.runs.programs import QUIET, flower_program, nginx_program

__all__ = ["server_programs", "superlink_answers"]

NEEDED = ("ca.crt", "server.crt", "server.key", "superexec.secret")


def server_programs(
    certificates: Path,
    *,
    listen: str,
    superlink: Address,
    state: Path,
    say: Callable[[str], None],
) -> list[Program]:
    """What `fedpatchcore serve` keeps running.

    Args:
        certificates: folder with ca.crt, server.crt, server.key and superexec.secret.
        listen: address:port of the public door.
        superlink: private address of the SuperLink.
        state: folder for the database, Flower's files and nginx's scratch files.

    Raises:
        CertificateError: a file is missing, or the certificate has expired.
        ConfigError: nginx is not installed. RunError: ``state`` cannot be written.
    """
    certificates, state = certificates.expanduser().absolute(), state.expanduser().absolute()
    for name in NEEDED:
        if not (certificates / name).is_file():
            raise CertificateError(
                f"{certificates / name} is missing: copy the whole folder 'server' that "
                "'fedpatchcore certs init' made"
            )
    left = read_certificate(certificates / "server.crt").days_left()
    if left < 0:
        raise CertificateError(
            f"{certificates / 'server.crt'} has expired {-left:.0f} days ago: make a new one with "
            "'fedpatchcore certs server'"
        )
    if left < 30:
        say(f"! {certificates / 'server.crt'} expires in {left:.0f} days")
    nginx = str(nginx_program())
    scratch = state / "proxy"
    text = nginx_configuration(
        certificates,
        listen=listen,
        superlink=f"{superlink.host}:{superlink.port}",
        scratch=scratch,
    )
    try:
        private_folder(state)  # the database holds coresets
        own_folder(scratch, error=RunError)
        (scratch / "nginx.conf").write_text(text)
    except OSError as error:
        raise RunError(f"cannot write {scratch}: {error.strerror}") from None
    secret = ("--superexec-auth-secret-file", str(certificates / "superexec.secret"))
    environment = {
        "FLWR_HOME": str(state / "flwr"),
        "FEDPATCHCORE_HOME": str(state / "home"),
        **QUIET,
    }
    link = [
        str(flower_program("flower-superlink")),
        *("--host", superlink.host, "--port", str(superlink.port)),
        *("--ssl-ca-certfile", str(certificates / "ca.crt")),
        *("--ssl-certfile", str(certificates / "server.crt")),
        *("--ssl-keyfile", str(certificates / "server.key")),
        *("--isolation", "process", "--database", str(state / "superlink.db")),
        *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
        *secret,
    ]
    executor = [
        str(flower_program("flower-superexec")),
        *("--runtime-api-address", f"{superlink.host}:{superlink.port}"),
        *("--root-certificates", str(certificates / "ca.crt")),
        *secret,
    ]
    up = superlink_answers(superlink, certificates / "ca.crt")
    return [
        Program("SuperLink", link, environment),
        Program("ServerApp executor", executor, environment, ready=up),
        Program("proxy", [nginx, "-c", str(scratch / "nginx.conf")], environment, ready=up),
    ]


def superlink_answers(superlink: Address, ca: Path) -> Callable[[], bool]:
    """Whether the SuperLink answers on its private address."""

    url = f"https://{superlink.host}:{superlink.port}/health"
    return lambda: healthy(url, str(ca), seconds=2)
