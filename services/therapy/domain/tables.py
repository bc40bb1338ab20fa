"""Reads a file of clinical data, or refuses all of it: half a table decides wrongly."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class DataRefused(Exception):
    """A file of clinical data cannot be used, all of it. The message names file, row and cell."""


def rows(file: Path, columns: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """The rows of a file that has exactly these columns. Raises DataRefused."""
    with file.open(newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened, strict=True)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            raise DataRefused(f"{file.name}: the columns are not {', '.join(columns)}")
        for row in reader:
            if None in row or None in row.values():
                raise DataRefused(f"{file.name}, line {reader.line_num}: more or fewer cells than columns")
            if not row[columns[0]]:
                raise DataRefused(f"{file.name}, line {reader.line_num}: the first cell is empty")
            yield row


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
