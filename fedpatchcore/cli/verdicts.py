"""What `predict` tells of each image: a table, JSON lines, and tables for a spreadsheet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from fedpatchcore.cli.common import console, number
from fedpatchcore.data.tables import no_formula
from fedpatchcore.errors import DataError, ImageError

if TYPE_CHECKING:
    from fedpatchcore.detection.judging import Prediction

__all__ = ["Verdicts", "verdicts"]

BOX = ("left", "top", "right", "bottom", "area", "peak", "x", "y")
IMAGES = ("image", "score", "threshold", "verdict", "regions", *BOX, "error")
REGIONS = ("image", "region", *BOX)
WORDS = {None: "no threshold", True: "DEFECT", False: "ok"}
STYLES = {None: "yellow", True: "bold red", False: "green"}


class Verdicts:
    """Takes verdicts one by one; counts them.

    Attributes:
        judged, defective, undecided, failed: images so far.
    """

    def __init__(self, as_json: bool, images: _Sheet | None, regions: _Sheet | None) -> None:
        self.judged = self.defective = self.undecided = self.failed = 0
        self._json, self._images, self._regions = as_json, images, regions
        self._table = Table()
        for column in ("image", "score", "threshold", "verdict"):
            right = column in ("score", "threshold")
            self._table.add_column(column, justify="right" if right else "left")

    def unreadable(self, path: Path, error: ImageError) -> None:
        """An image that could not be judged."""
        self.failed += 1
        self._tell(
            path,
            {"error": str(error)},
            ("–", "–", f"[yellow]{escape(str(error))}[/]"),
            {"verdict": "unreadable", "error": no_formula(str(error))},
        )

    def add(self, path: Path, result: Prediction, heatmap: Path | None = None) -> None:
        """A verdict."""
        self.defective += bool(result.defective)
        self.undecided += result.defective is None
        limit = None if math.isnan(result.threshold) else result.threshold
        word, style = WORDS[result.defective], STYLES[result.defective]
        regions = [asdict(region) for region in result.regions]
        row = {
            "score": result.score,
            "threshold": limit,
            "defective": result.defective,
            "regions": regions,
        }
        cells = {
            "score": result.score,
            "threshold": limit,
            "verdict": word,
            "regions": len(regions),
            **(regions[0] if regions else {}),
        }
        self._tell(
            path,
            row if heatmap is None else {**row, "heatmap": str(heatmap)},
            (number(result.score, 4), number(limit, 4), f"[{style}]{word}[/]"),
            cells,
        )
        if self._regions:
            for at, region in enumerate(regions, 1):
                self._regions.line(path, region=at, **region)

    def _tell(self, path: Path, row: dict, columns: tuple[str, ...], cells: dict) -> None:
        self.judged += 1
        if self._json:
            print(json.dumps({"image": str(path), **row}))
        else:
            self._table.add_row(escape(str(path)), *columns)
        if self._images:
            self._images.line(path, **cells)

    def show(self) -> None:
        """Print the table and how many are defective, unless each was printed as JSON."""
        if not self._json:
            console.print(self._table)
            failed = f", {self.failed} unreadable" if self.failed else ""
            console.print(f"{self.defective} of {self.judged} defective{failed}")


@contextmanager
def verdicts(as_json: bool, images: Path | None, regions: Path | None) -> Iterator[Verdicts]:
    """Verdicts that also go into CSV files, line by line as they are taken.

    Args:
        images: file of a line an image.
        regions: file of a line a region.

    Raises:
        DataError: a file cannot be written, or both are the same.
    """
    if images and regions and images.resolve() == regions.resolve():
        raise DataError(f"{images}: give --csv and --csv-regions files of their own")
    with ExitStack() as stack:
        sheets = [
            path and stack.enter_context(closing(_Sheet(path, columns)))
            for path, columns in ((images, IMAGES), (regions, REGIONS))
        ]
        yield Verdicts(as_json, *sheets)


class _Sheet:
    """A CSV file that is written line by line. Raises DataError wherever that fails."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path = path
        with self._telling():
            self._file = path.open("w", newline="", encoding="utf-8", errors="backslashreplace")
            self._writer = csv.DictWriter(self._file, columns)
            self._writer.writeheader()

    def line(self, path: Path, **cells: Any) -> None:
        """Add a line on an image."""
        with self._telling():
            self._writer.writerow({"image": no_formula(str(path)), **cells})

    def close(self) -> None:
        """Finish the file."""
        with self._telling():
            self._file.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self._path}: cannot be written ({error.strerror})") from error
