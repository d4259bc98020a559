"""Programs beside the customary ones: a control room at the server, a puller of banks at a site."""

from __future__ import annotations

import sys
from pathlib import Path

from fedpatchcore.deploy.certs import read_certificate
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.serve import superlink_answers
from fedpatchcore.deploy.supervise import Program
from fedpatchcore.errors import ConfigError, RunError
from fedpatchcore.files import private_folder

__all__ = ["control_program", "pulling_program"]

US = (sys.executable, "-m", "fedpatchcore.cli")
HERE = "here"  # the connection's name in Flower's config.toml
AT_HOME = ("127.0.0.1", "localhost", "::1")
MINUTES = 5  # between two looks for a new bank


def control_program(
    certificates: Path,
    *,
    listen: Address,
    superlink: Address,
    state: Path,
    runs: Path,
    database: str = "",
) -> Program:
    """The control room, with a connection of its own to the SuperLink on this machine.

    On loopback without TLS; on any other address with the server's certificate, whose names
    browsers may use. Started once the SuperLink answers.

    Args:
        certificates: folder with ca.crt, server.crt and server.key.
        state: of the server; the control room's own folder is ``control`` in it.

    Raises:
        CertificateError: the certificate cannot be read. RunError: ``state`` cannot be written.
    """
    certificates, state = certificates.expanduser().absolute(), state.expanduser().absolute()
    flower, place = state / "control-flwr", state / "control"
    try:
        for folder in (state, flower):
            private_folder(folder)
        (flower / "config.toml").write_text(
            f'[superlink]\ndefault = "{HERE}"\n[superlink.{HERE}]\n'
            f'address = "{superlink.host}:{superlink.port}"\n'
            f'root-certificates = "{certificates / "ca.crt"}"\n'
        )
    except OSError as error:
        raise RunError(f"cannot write {flower}: {error.strerror}") from None
    command = [*US, "control", "serve", str(runs.expanduser().absolute())]
    command += ["--listen", f"{listen.host}:{listen.port}", "--state", str(place)]
    command += ["--connection", HERE]
    for name in ("ca.crt", "server.crt"):
        command += ["--watch-certificate", str(certificates / name)]
    if listen.host.strip("[]") not in AT_HOME:
        command += ["--certfile", str(certificates / "server.crt")]
        command += ["--keyfile", str(certificates / "server.key")]
        for name in read_certificate(certificates / "server.crt").names:
            command += ["--name", name]
    if database:
        command += ["--database", database]
    environment = {"FLWR_HOME": str(flower), "FEDPATCHCORE_HOME": str(state / "home")}
    up = superlink_answers(superlink, certificates / "ca.crt")
    return Program("control room", command, environment, ready=up)


def pulling_program(
    url: str, key: Path | None, banks: Path, root_certificates: Path, *, signed_by: str
) -> Program:
    """At a site: fetches released banks again and again. Raises ConfigError without a key."""
    if key is None:
        raise ConfigError("--control takes this site's key: --control-key FILE")
    if not key.is_file():
        raise ConfigError(f"{key} does not exist: an admin of the control room makes a site's key")
    command = [*US, "bank", "pull", url, "--every", str(MINUTES), "--out", str(banks)]
    command += ["--key-file", str(key), "--root-certificates", str(root_certificates)]
    if signed_by:
        command += ["--signed-by", signed_by]
    return Program("bank puller", command)
