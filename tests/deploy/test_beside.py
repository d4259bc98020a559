"""The control room beside the server's programs, the puller of banks beside a site's node."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import typer

from fedpatchcore.deploy.beside import control_program, pulling_program
from fedpatchcore.deploy.certs import make_authority, make_server
from fedpatchcore.deploy.network import Address
from fedpatchcore.errors import ConfigError


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    make_authority(tmp_path / "pki")
    return make_server(tmp_path / "pki", ["fed.example.com"])


def made(certificates: Path, tmp_path: Path, listen: str, **more: str):
    return control_program(
        certificates,
        listen=Address.parse(listen),
        superlink=Address.parse("127.0.0.1:8000"),
        state=tmp_path / "state",
        runs=tmp_path / "runs",
        **more,
    )


def taken(program) -> None:
    """The command line takes every word of it."""
    from fedpatchcore.cli.control import control

    words = list(program.command[program.command.index("control") + 2 :])
    serve = typer.main.get_command(control).commands["serve"]
    serve.make_context("serve", words)  # raises what the command would say


def test_on_loopback_without_tls_with_a_connection_of_its_own(
    certificates: Path, tmp_path: Path
) -> None:
    program = made(certificates, tmp_path, "127.0.0.1:8090")
    taken(program)
    home = Path(program.environment["FLWR_HOME"])
    told = tomllib.loads((home / "config.toml").read_text())["superlink"]
    assert told["here"]["address"] == "127.0.0.1:8000"
    assert Path(told["here"]["root-certificates"]) == certificates / "ca.crt"
    assert "--certfile" not in program.command
    assert program.command.count("--watch-certificate") == 2
    assert not program.ready()  # nothing listens there


def test_elsewhere_with_the_servers_certificate_and_its_names(
    certificates: Path, tmp_path: Path
) -> None:
    program = made(certificates, tmp_path, "0.0.0.0:8090", database="postgresql:///room")
    taken(program)
    names = [
        word
        for flag, word in zip(program.command, program.command[1:], strict=False)
        if flag == "--name"
    ]
    assert "fed.example.com" in names
    assert str(certificates / "server.key") in program.command
    assert "postgresql:///room" in program.command


def test_a_puller_takes_a_key(tmp_path: Path) -> None:
    url, ca = "https://fed.example.com:8090", tmp_path / "ca.crt"
    for key in (None, tmp_path / "none"):
        with pytest.raises(ConfigError, match="key"):
            pulling_program(url, key, tmp_path / "banks", ca, signed_by="")
    (tmp_path / "site.key").write_text("k")
    program = pulling_program(url, tmp_path / "site.key", tmp_path / "banks", ca, signed_by="abc")
    words = list(program.command)
    assert words[words.index("--every") + 1] == "5"
    assert words[words.index("--signed-by") + 1] == "abc"
