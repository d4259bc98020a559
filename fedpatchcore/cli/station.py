"""Commands of a station: write its file, run it, ask how it is, what it judged."""

from __future__ import annotations

import csv
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import console, finite, number, write_own_file
from fedpatchcore.cli.station_demo import demo
from fedpatchcore.errors import ConfigError
from fedpatchcore.station.settings import StationSettings, read_station_file, station_file

__all__ = ["station"]

station = typer.Typer(
    no_args_is_help=True,
    help="At a line: images come in by a folder or by HTTP, verdicts go out, people say whether "
    "they were right. No image leaves the machine.",
)

station.command("demo")(demo)

File = Annotated[Path, typer.Argument(help="The station's file.")]
THERE = Path("station.toml")


@station.command("init")
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = THERE,
    name: Annotated[str, typer.Option("--station", help="This station's name.")] = "",
    bank: Annotated[str, typer.Option(help="Bank file to judge by.")] = "",
    registry: Annotated[
        str, typer.Option(help="Control room whose released bank of --product is pulled.")
    ] = "",
    registry_key: Annotated[str, typer.Option(help="File with this site's key for it.")] = "",
    watch: Annotated[str, typer.Option(help="Folder whose images are judged.")] = "",
    product: Annotated[str, typer.Option(help="Product where no sub-folder tells one.")] = "",
    training: Annotated[str, typer.Option(help="The site's folder of good images.")] = "",
    state: Annotated[str, typer.Option(help="Folder of data base, images and banks.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
) -> None:
    """Write the station's file, with every key and what it means.

    Example: fedpatchcore station init --station line-3 --bank bank.safetensors --watch /data/in
    """
    if not name or not (bank or watch or registry):
        raise ConfigError("say who this is and what it judges: --station NAME --bank FILE")
    given = {"station": name, "product": product, "registry": registry}
    files = {"bank": bank, "registry-key": registry_key, "watch": watch}
    for key, told in (files | {"training": training, "state": state}).items():
        given[key] = str(Path(told).expanduser().absolute()) if told else ""
    given = {key: value for key, value in given.items() if value}
    StationSettings.parse(given, where="station init")
    write_own_file(file, station_file(given, file), force=force)
    console.print(f"{file}: read it, then: fedpatchcore station run {file}", markup=False)


@station.command("run")
def run(file: File = THERE) -> None:
    """Judge what comes in, until stopped.

    Example: fedpatchcore station run station.toml
    """
    from fedpatchcore.station.running import run_station

    run_station(read_station_file(file), say=lambda line: console.print(line, markup=False))


@station.command("units")
def units(
    file: File = THERE,
    gpu: Annotated[bool, typer.Option("--gpu", help="Let it use the GPUs.")] = False,
    memory_max: Annotated[str, typer.Option(metavar="8G", help="Memory that it may take.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("station-units"),
    install: Annotated[
        bool, typer.Option("--install", help="Install them as well, as root.")
    ] = False,
) -> None:
    """A systemd service for the station: an ordinary user that sees what its file names.

    Writes the service, the station's file for it and the script that installs them; with --install
    runs that script, which makes the user, copies keys and enables the service. Nothing is started,
    and no permission of a folder is changed: the lines that do so are told.

    Example: fedpatchcore station units station.toml
    """
    from fedpatchcore.station.units import StationUnits

    made = StationUnits.of(file, gpu=gpu, memory_max=memory_max)
    made.write(out)
    if install:
        made.install(out)
        console.print(f"{out}/install.sh made a user and enabled a service; what is left:")
    else:
        if why := made.closed():
            console.print(f"[yellow]![/] {escape(why)}")
        console.print(f"{out}: a service, the station's file, and the script that installs them")
        console.print(f"# install, as root\nsh {escape(str(out.absolute()))}/install.sh")
    for purpose, command in made.remains().items():
        console.print(f"# {escape(purpose)}\n{escape(command)}", soft_wrap=True)


@station.command("status")
def status(
    file: File = THERE,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """What waits, what was judged, and whether the station runs.

    Example: fedpatchcore station status station.toml
    """
    from fedpatchcore.station.asking import state_of

    told = state_of(read_station_file(file))
    if as_json:
        print(json.dumps(told))
        return
    for key, value in told.items():
        if value in ("", []):
            continue
        console.print(f"{key:14} {value}", markup=False)


@station.command("results")
def results(
    file: File = THERE,
    since: Annotated[str, typer.Option(help="From this moment on, 2026-01-31T06:00.")] = "",
    hours: Annotated[
        float, typer.Option(min=0, callback=finite, help="Instead: of the last so many hours.")
    ] = 0,
    verdict: Annotated[str, typer.Option(help="Of this one: ok, defect, undecided.")] = "",
    product: Annotated[str, typer.Option(help="Of this product.")] = "",
    most: Annotated[int, typer.Option(min=1, help="So many, the last ones.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object an image.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table for a spreadsheet.")] = False,
) -> None:
    """What the station judged, the last first.

    Example: fedpatchcore station results station.toml --verdict defect --hours 8 --csv
    """
    from fedpatchcore.station.asking import results_of
    from fedpatchcore.station.told import COLUMNS

    begin = datetime.now().astimezone() - timedelta(hours=hours) if hours else None
    if since:
        try:
            begin = datetime.fromisoformat(since).astimezone()
        except ValueError:
            raise ConfigError(f"--since {since}: write 2026-01-31T06:00") from None
    rows = results_of(read_station_file(file), begin, verdict, product, most, rows=not as_json)
    if as_json:
        for row in rows:
            print(json.dumps(row))
    elif as_csv:
        sheet = csv.DictWriter(sys.stdout, COLUMNS)
        sheet.writeheader()
        sheet.writerows(rows)
    else:
        table = Table()
        for column in ("id", "image", "product", "judged", "verdict", "score", "threshold", "said"):
            table.add_column(
                column, justify="right" if column in ("score", "threshold") else "left"
            )
        for row in rows:
            table.add_row(
                str(row["id"]),
                escape(row["image"]),
                escape(row["product"]),
                (row["judged"] or "–")[:19],
                row["verdict"] or escape(row["error"] or row["state"]),
                number(row["score"], 4),
                number(row["threshold"], 4),
                row["said"] or "",
            )
        console.print(table)


@station.command("key")
def key(
    name: Annotated[str, typer.Argument(help="The program's name, as the trail tells it.")],
    file: File = THERE,
    role: Annotated[str, typer.Option(help="camera, viewer, inspector, lead or admin.")] = "camera",
    days: Annotated[int, typer.Option(min=1, max=366, help="It lasts so long.")] = 365,
) -> None:
    """Make a key with which a program hands images in; it is shown once.

    Example: fedpatchcore station key camera-1 station.toml
    """
    from fedpatchcore.station.place import Place
    from fedpatchcore.web.serving import CONSOLE

    place = Place.open(read_station_file(file).state_folder())
    console.print(place.people.make_token(CONSOLE, name, role, "", days), markup=False)
    place.close()


@station.command("link")
def link(
    name: Annotated[str, typer.Argument(help="The person's name; one that exists: new password.")],
    file: File = THERE,
    role: Annotated[str, typer.Option(help="viewer, inspector, lead or admin.")] = "admin",
) -> None:
    """Make a one-time link with which a person sets a password.

    Example: fedpatchcore station link "Anna Bloem" station.toml --role inspector
    """
    from fedpatchcore.station.place import Place
    from fedpatchcore.web.serving import CONSOLE

    place = Place.open(read_station_file(file).state_folder())
    secret = place.people.invite(CONSOLE, name, role)
    place.close()
    console.print(f"within a day, once: /join/{secret} at the station's address", markup=False)
