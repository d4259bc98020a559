"""The doors of the control room: folders that others wrote, forms, exported trails."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from fedpatchcore.config import RunConfig
from fedpatchcore.control.attention import matters
from fedpatchcore.control.comparing import compared
from fedpatchcore.control.following import Following
from fedpatchcore.control.mirror import settings_of
from fedpatchcore.control.starting import OURS, Nowhere, Starter
from fedpatchcore.control.tables import Run, RunDetail
from fedpatchcore.data.dicom import dicom_picture
from fedpatchcore.data.dicom_plain import plain_dicom
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.sealed import sealed
from fedpatchcore.station.arriving import Arrivals
from fedpatchcore.station.place import Place
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.tables import Inspection
from fedpatchcore.station.uploads import kind_of
from fedpatchcore.station.whole import ends_itself
from fedpatchcore.web.audit import START, verified
from fedpatchcore.web.forms import from_form, from_json
from tests.hostile.doors import Door, event_lines
from tests.hostile.mutation import mutated
from tests.support.products import picture
from tests.support.stations import encoded

__all__ = ["CONTROL_DOORS"]

RLE = "1.2.840.10008.1.2.5"


def run_folder_door(tmp: Path) -> Door:
    """A run folder that the control room reads: its events, its settings, its bank."""
    root = tmp / "runs"
    (root / "one").mkdir(parents=True)
    (root / "one" / "config.json").write_bytes(sealed(RunConfig().table()))
    events = "\n".join(line[line.find("{") :] for line in event_lines()).encode() + b"\n"

    def take(data: bytes) -> None:
        for name in ("events.jsonl", ".identity", "config.json"):
            (root / "one" / name).write_bytes(data)
        follow = Following(root, "one")
        follow.read_on()
        told = [follow.table(), follow.results(), settings_of(root, "one"), follow.view.notes()]
        json.dumps([*told, follow.identity(), follow.view.headline()], allow_nan=False)
        compared([(Run(), RunDetail(settings=told[2], results=told[1], table=told[0], notes=[]))])
        matters([], [], RunDetail(settings=told[2], results=[], table=told[0], notes=[]), {})

    return Door([events], mutated, take, total=True)


def form_door() -> Door:
    """A form, or a flat JSON object, as the control room takes it in."""
    table = {k: v for k, v in RunConfig().table().items() if k not in OURS}
    form = urlencode({k: str(v).lower() if isinstance(v, bool) else v for k, v in table.items()})
    starter = Starter(Path(), Nowhere(), None, None)

    def take(data: bytes) -> None:
        read = from_json(data) if data[:1] == b"{" else from_form(data)
        RunConfig.parse(starter.settings(read), where="settings")

    return Door([form.encode(), json.dumps(table).encode()], mutated, take)


def trail_door() -> Door:
    """An exported trail: whatever is changed in it is found."""
    lines, previous = [], START
    for number in (1, 2, 3):
        told = {"number": number, "who": "anna", "what": "x", "previous": previous}
        record = json.dumps(told)
        previous = hashlib.sha256(record.encode()).hexdigest()
        lines.append(f'{record[:-1]}, "digest": "{previous}"}}')
    whole = ("\n".join(lines) + "\n").encode()

    def take(data: bytes) -> None:
        verified(data.decode(errors="replace").splitlines(), [f"3:{previous}"])
        assert data.split() == whole.split(), "a change went unseen"

    return Door([whole], mutated, take)


def station_door(tmp: Path) -> Door:
    """An image that a station takes in, by its folder or over HTTP."""
    place = Place.open(tmp / "state")
    settings = StationSettings.parse({"station": "line-1"}, where="door")
    arrivals = Arrivals(place, settings)

    def take(data: bytes) -> None:
        ends_itself(data), kind_of(data)
        source = data[:40].decode("latin-1")
        number = arrivals.take(data, source, arrivals.product(source))
        with place.database.read() as session:
            assert session.get(Inspection, number).size == len(data)
        place.keep(data)

    return Door(
        [encoded(picture(1), kind) for kind in ("PNG", "JPEG", "BMP")], mutated, take, total=True
    )


def scan_door() -> Door:
    """A DICOM file: what is taken is a picture with nothing beside it, the same when read again."""
    from tests.support.dicoms import SENTINEL, dicom, scan

    most = 1_000_000
    window = {"WindowCenter": 900, "WindowWidth": 1800}
    samples = [dicom(scan(16), **window), dicom(scan(16, low=-500), RLE, RescaleSlope=2)]

    def take(data: bytes) -> None:
        try:
            kept = plain_dicom(data, most)
        except FedPatchCoreError as error:
            assert SENTINEL not in str(error)
            raise
        assert plain_dicom(kept, most) == kept
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pictures made of hostile numbers
            dicom_picture(kept, most).load()

    return Door(samples, mutated, take)


CONTROL_DOORS: dict[str, Callable[[Path], Door]] = {
    "run folder in the control room": run_folder_door,
    "form in the control room": lambda tmp: form_door(),
    "exported trail": lambda tmp: trail_door(),
    "image at a station": station_door,
    "scan at a station": lambda tmp: scan_door(),
}
