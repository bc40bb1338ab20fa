"""Reads a file of clinical data, or refuses all of it: half a table decides wrongly."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path


class DataRefused(Exception):
    """A file of clinical data cannot be used, all of it. The message names file, row and cell."""


def rows(file: Path, columns: Sequence[str]) -> Sequence[Mapping[str, str]]:
    """The rows of a file that has exactly these columns, the first of them filled. Raises DataRefused."""
    try:
        reader = csv.DictReader(file.read_text("utf-8").splitlines(keepends=True), strict=True)
        found = list(reader)
    except (csv.Error, UnicodeDecodeError):
        raise DataRefused(f"{file.name} is no table of comma-separated values in UTF-8") from None
    if tuple(reader.fieldnames or ()) != tuple(columns):
        raise DataRefused(f"{file.name}: the columns are not {', '.join(columns)}")
    for nth, row in enumerate(found, 1):
        if None in row or None in row.values():
            raise DataRefused(f"{file.name}, row {nth}: more or fewer cells than columns")
        if not row[columns[0]]:
            raise DataRefused(f"{file.name}, row {nth}: the first cell is empty")
    return found


def number(row: Mapping[str, str], column: str, where: str) -> int:
    return parsed(row[column], f"{where}: {column}")


def optional_number(row: Mapping[str, str], column: str, where: str) -> int | None:
    return number(row, column, where) if row[column] else None


def parsed(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise DataRefused(f"{where}: {text!r} is not a whole number")
    return int(text)


def truth(row: Mapping[str, str], column: str, where: str) -> bool:
    if row[column] not in {"true", "false"}:
        raise DataRefused(f"{where}: {column} is {row[column]!r}, neither true nor false")
    return row[column] == "true"
