"""The catalogues of the station's pages, as they have to be.

python -m tests.support.speech      takes new texts of the templates up, and compiles (make texts)
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from fedpatchcore.station.causes import CAUSES
from tests.support.places import ROOT

__all__ = ["LOCALE", "compiled", "read_catalogue", "texts"]

FOLDERS = [ROOT / "fedpatchcore" / room / "templates" for room in ("station", "web")]
LOCALE = ROOT / "fedpatchcore" / "station" / "locale"


def texts() -> set[str]:
    """Every text that the station's templates show, and the causes that they translate."""
    found = set()
    for folder in FOLDERS:
        for file in sorted(folder.glob("*.j2")):
            with file.open("rb") as opened:
                for told in extract("jinja2.ext:babel_extract", opened, keywords={"_": None}):
                    found.add(told[1])
    return found | set(CAUSES)


def read_catalogue(language: str) -> Catalog:
    """The catalogue of a language."""
    with po(language).open("rb") as opened:
        return read_po(opened, locale=language)


def po(language: str) -> Path:
    """Where it lies, as people write it."""
    return LOCALE / language / "LC_MESSAGES" / "station.po"


def compiled(catalogue: Catalog) -> bytes:
    """As gettext reads it."""
    catalogue.creation_date = catalogue.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    out = io.BytesIO()
    write_mo(out, catalogue)
    return out.getvalue()


def update(language: str) -> None:
    """Take new texts up, leave out those that are no more, compile."""
    file = po(language)
    old = read_catalogue(language) if file.exists() else Catalog()
    made = Catalog(locale=language, project="fedpatchcore", fuzzy=False)
    made.creation_date = made.revision_date = None
    for text in sorted(texts()):
        kept = old.get(text)
        made.add(text, kept.string if kept else "")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        write_po(out, made, omit_header=True, sort_output=True, width=100)
    file.with_suffix(".mo").write_bytes(compiled(read_catalogue(language)))


if __name__ == "__main__":
    for folder in sorted(LOCALE.iterdir()):
        update(folder.name)
        missing = sum(not one.string for one in read_catalogue(folder.name) if one.id)
        print(f"{folder.name}: {missing} texts without a translation")
