"""Commands that prepare a federation across hosts: certificates, keys, the proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import console
from fedpatchcore.deploy.certs import (
    CA_DAYS,
    SERVER_DAYS,
    make_authority,
    make_key,
    make_server,
    make_site,
    read_certificate,
)
from fedpatchcore.deploy.proxy import nginx_configuration
from fedpatchcore.deploy.rosters import make_roster, make_sums_key
from fedpatchcore.errors import CertificateError, ConfigError
from fedpatchcore.files import own_folder
from fedpatchcore.places import cache_home

__all__ = ["certs", "proxy"]

certs = typer.Typer(
    no_args_is_help=True,
    help="Certificates and keys: a CA of the federation's own, the server's TLS certificate, "
    "a key pair a site.",
)

Folder = Annotated[Path, typer.Argument(help="Folder of the federation's certificates.")]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", help="Name or IP address sites reach the server at; may be repeated."),
]
ServerDays = Annotated[int, typer.Option("--days", help="Lifetime of the server's certificate.")]


@certs.command("init")
def init(
    folder: Folder,
    host: Hosts = None,
    site: Annotated[
        list[str] | None, typer.Option("--site", help="A site's name; may be repeated.")
    ] = None,
    days: ServerDays = SERVER_DAYS,
    ca_days: Annotated[int, typer.Option(help="Lifetime of the CA.")] = CA_DAYS,
) -> None:
    """Make the CA, the server's certificate and a key pair for each site.

    Example: fedpatchcore certs init pki --host fed.example.com --host 10.0.0.5 --site plant-a
    """
    if not host:
        raise ConfigError("say how sites reach the server: --host NAME_OR_ADDRESS")
    doubled = {name for name in site or () if (site or []).count(name) > 1}
    if doubled:
        raise ConfigError(f"site named twice: {', '.join(sorted(doubled))}")
    make_authority(folder, days=ca_days)
    make_server(folder, host, days=days)
    for name in site or ():
        make_site(folder, name)
    _explain(folder, list(site or ()))


@certs.command("server")
def server(folder: Folder, host: Hosts = None, days: ServerDays = SERVER_DAYS) -> None:
    """Make the server's certificate anew, from the CA that is there (move the old one away)."""
    if not host:
        raise ConfigError("say how sites reach the server: --host NAME_OR_ADDRESS")
    made = read_certificate(make_server(folder, host, days=days) / "server.crt")
    console.print(f"{made.path}: {', '.join(made.names)}, until {made.not_after:%Y-%m-%d}")


@certs.command("site")
def site(
    folder: Folder, names: Annotated[list[str], typer.Argument(help="Names of new sites.")]
) -> None:
    """Make the folder of one more site: its key pair and the CA's certificate."""
    for name in names:
        make_site(folder, name)
    _explain_sites(folder, names)


@certs.command("key")
def key(
    folder: Annotated[Path, typer.Argument(help="Folder the two files are written to.")],
    name: Annotated[str, typer.Argument(help="The site's name.")],
) -> None:
    """At a site: make its own key pair, so that the private key never travels.

    Send node.pub to whoever runs the server; get ca.crt from there.
    """
    made = make_key(folder, name)
    console.print(f"{made / 'node.key'}  stays here (mode 0600)", soft_wrap=True)
    console.print(
        f"{made / 'node.pub'}  goes to the server: flwr supernode register node.pub SUPERLINK "
        f"--name {name}",
        soft_wrap=True,
    )


@certs.command("roster")
def roster(
    folder: Folder,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="A site that is taken off; may be repeated."),
    ] = None,
) -> None:
    """For secure sums: sign the list of sites' own keys, anew when one comes or goes.

    Example: fedpatchcore certs roster pki --without plant-c
    """
    made = make_roster(folder, without or ())
    console.print(
        f"{folder / 'roster.json'}: number {made.number}, {len(made.roster.keys)} sites "
        f"({', '.join(sorted(made.roster.keys))})",
        soft_wrap=True,
    )
    console.print(
        "It lies in each site's folder, beside ca.crt and sums.key: give every site the new one; "
        "it goes into worker.toml (roster, sums-key)",
        soft_wrap=True,
    )


@certs.command("sums-key")
def sums_key(
    folder: Annotated[Path, typer.Argument(help="Folder the two files are written to.")],
    name: Annotated[str, typer.Argument(help="The site's name.")],
) -> None:
    """At a site: make its own key for secure sums, so that the private key never travels.

    Send sums.pub to whoever signs the roster; get roster.json and ca.crt from there.
    """
    made = make_sums_key(folder, name)
    console.print(f"{made / 'sums.key'}  stays here, with the worker (mode 0600)", soft_wrap=True)
    console.print(
        f"{made / 'sums.pub'}  goes to sites/{name}/ of the federation's certificates, where "
        "'fedpatchcore certs roster' signs it",
        soft_wrap=True,
    )


@certs.command("show")
def show(folder: Folder) -> None:
    """What certificates and keys there are, for which names, until when; 2 if one has expired."""
    found = [p for p in (folder / "ca" / "ca.crt", folder / "server" / "server.crt") if p.exists()]
    if not found:
        raise CertificateError(
            f"no certificates in {folder}: 'fedpatchcore certs init {folder} --host ...' makes them"
        )
    table = Table()
    for column in ("file", "for", "until (UTC)", "days left"):
        table.add_column(column, justify="right" if column == "days left" else "left")
    late = []
    for path in found:
        one = read_certificate(path)
        left = one.days_left()
        late += [path] if left < 0 else []
        names = ", ".join(one.names) or one.subject
        shown = f"{left:.0f}" if left >= 0 else "[red]expired[/]"
        table.add_row(str(path.relative_to(folder)), names, f"{one.not_after:%Y-%m-%d}", shown)
    for public in sorted((folder / "sites").glob("*/node.pub")):
        table.add_row(str(public.relative_to(folder)), public.parent.name, "no end", "–")
    console.print(table)
    if late:
        raise CertificateError(
            f"{late[0]} has expired: move it away and make a new one ('fedpatchcore certs "
            f"{'server' if late[0].name == 'server.crt' else 'init'} ...')"
        )


def _explain(folder: Path, sites: list[str]) -> None:
    one = read_certificate(folder / "server" / "server.crt")
    lines = [
        (folder / "ca" / "ca.key", "keep offline: whoever has it can make servers sites trust"),
        (folder / "ca" / "ca.crt", "public; everyone who connects needs it"),
        (folder / "server", f"to the server: TLS for {', '.join(one.names)}"),
        (None, f"valid until {one.not_after:%Y-%m-%d}, renew before with 'certs server'"),
    ]
    table = Table.grid(padding=(0, 2))
    for path, text in lines:
        table.add_row("" if path is None else str(path), text)
    console.print(table)
    _explain_sites(folder, sites)


def _explain_sites(folder: Path, sites: list[str]) -> None:
    for name in sites:
        own = folder / "sites" / name
        console.print(f"{own}  to site {escape(name)} alone: node.key, ca.crt", soft_wrap=True)
    if sites:
        console.print("\nat the server, once for each site:")
    for name in sites:
        public = folder / "sites" / name / "node.pub"
        console.print(f"  flwr supernode register {public} SUPERLINK --name {name}", soft_wrap=True)


def proxy(
    certificates: Annotated[
        Path, typer.Argument(help="The server's folder: server.crt, server.key, ca.crt.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: print it.")
    ] = None,
    listen: Annotated[str, typer.Option(help="Address:port that sites reach.")] = "0.0.0.0:8443",
    superlink: Annotated[
        str, typer.Option(help="Private address:port of the SuperLink.")
    ] = "127.0.0.1:8000",
    scratch: Annotated[
        Path | None,
        typer.Option(help="Folder nginx may write to; default: proxy in $FEDPATCHCORE_HOME."),
    ] = None,
    access_log: Annotated[str, typer.Option(help="Where refused requests go.")] = "/dev/stdout",
) -> None:
    """Write the nginx configuration that gives sites the Fleet API and nothing else.

    Example: fedpatchcore proxy pki/server -o proxy.conf && nginx -c $PWD/proxy.conf
    """
    scratch = (scratch or cache_home() / "proxy").expanduser().absolute()
    text = nginx_configuration(
        certificates, listen=listen, superlink=superlink, scratch=scratch, access_log=access_log
    )
    if out is None:
        print(text, end="")
        return
    try:
        own_folder(scratch, error=ConfigError)
        out.write_text(text)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename or out}: {error.strerror}") from None
    console.print(f"{out}: start it with  nginx -c {out.absolute()}", soft_wrap=True)
