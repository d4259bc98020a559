"""csv tables that name files: rows with line numbers, paths that stay below their root."""

import csv
from pathlib import Path, PurePosixPath

from fedpatchcore.errors import DataError

__all__ = ["columns_of", "no_formula", "read_rows", "resolve_inside"]


def read_rows(
    table: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[tuple[int, dict[str, str]]]:
    """Rows of a csv file with a header → (line number, stripped values); blank lines are skipped.

    Raises:
        DataError: unreadable, not UTF-8, or a column or value is missing.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [(column or "").strip() for column in reader.fieldnames or ()]
            missing = [column for column in required if column not in header]
            if missing:
                raise DataError(
                    f"{table}: lacks column {', '.join(missing)}; "
                    f"the first line must name {','.join(required)}"
                )
            reader.fieldnames = header
            rows = []
            for row in reader:
                if any(row.get(column) is None for column in required):
                    raise DataError(
                        f"{table}, line {reader.line_num}: too few values; "
                        f"expected {len(header)}, one per column"
                    )
                wanted = (*required, *optional)
                values = {column: (row.get(column) or "").strip() for column in wanted}
                rows.append((reader.line_num, values))
            return rows
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a UTF-8 csv file ({error})") from error


def columns_of(table: Path) -> list[str]:
    """Names in the first line of a csv file. Raises DataError if it cannot be read."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a UTF-8 csv file ({error})") from error


def resolve_inside(root: Path, name: str, where: str) -> Path:
    """Relative path of a table → existing file below the root.

    Raises:
        DataError: empty, absolute, climbing out with "..", or no such file.
    """
    relative = PurePosixPath(name.replace("\\", "/"))
    if not name or relative.is_absolute() or ".." in relative.parts:
        raise DataError(f"{where}: {name!r} must be a path below {root}")
    path = root / relative
    if not path.is_file():
        raise DataError(f"{where}: no file {path}; correct the table or restore the file")
    return path


def no_formula(words: str) -> str:
    """A path, or words that begin with one, that no spreadsheet takes for a formula."""
    return f"./{words}" if words.startswith(("=", "+", "-", "@", "\t", "\r")) else words
