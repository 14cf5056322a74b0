"""Reads the user's tables as CSV or TSV: every row has the header's columns, and every value is text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.errors import UserError
from bench.files.text import MAX_TEXT_BYTES, read_text
from bench.text import shortened

MAX_FIELD_CHARACTERS = 131_072
"""Default limit of Python's csv module."""
MAX_COLUMNS = 1_000
SIGNS = (",", ";", "\t")
_SUFFIXES = {",": ".csv", "\t": ".tsv"}
_QUOTING = "Text that holds the sign or a quote stands in double quotes, with each quote in it doubled."


class Table(NamedTuple):
    """The content of a table."""

    columns: list[str]
    rows: list[list[str]]
    """One list per row, as long as the list of columns."""
    lines: list[int]
    """Line on which each row begins, counted from 1."""


def read_table(file: Path, separator: str = ",", *, max_bytes: int = MAX_TEXT_BYTES) -> Table:
    """Read a table with a header. Empty lines are skipped.

    Args:
        file: a file in UTF-8.
        separator: character between two columns.
        max_bytes: larger files are refused before they are read.

    Raises:
        UserError: the file is missing, has another encoding or no header, has two columns of one name, a row with
            another number of columns than the header, a quote that never closes, or a very long field. The error names
            the file and the line.
    """
    rows = _rows(read_text(file, max_bytes=max_bytes), separator, file)
    line, columns = next(rows, (1, []))
    _check_header(columns, separator, f"line {line} of {file}")
    table = Table(columns, [], [])
    for line, values in rows:
        if len(values) != len(columns):
            raise UserError(
                f"Expected {len(columns)} columns as in the header. Found {len(values)} in line {line} of {file}. "
                f"{_QUOTING if len(values) > len(columns) else 'Fill in the others, or leave them empty.'}"
            )
        table.rows.append(values)
        table.lines.append(line)
    return table


def _rows(text: str, separator: str, file: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    line = 1
    try:
        for values in reader:
            if values:
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        reason = str(error)
        if "unexpected end" in reason:
            reason = "a quote that never closes"
        elif "field larger" in reason:
            reason = f"a field of over {MAX_FIELD_CHARACTERS:,} characters, or a quote that never closes"
        raise UserError(
            f"Expected columns with {separator!r} between them. Found {reason} in the row that begins in line {line} "
            f"of {file}. {_QUOTING}"
        ) from error


def _check_header(columns: list[str], separator: str, where: str) -> None:
    if not columns:
        raise UserError(
            f"Expected the columns' names in {where}. Found an empty file. Write a header, and rows below it."
        )
    if len(columns) > MAX_COLUMNS:
        raise UserError(f"Expected at most {MAX_COLUMNS:,} columns in {where}. Found {len(columns):,}. Remove some.")
    if len(set(columns)) < len(columns):
        repeated = next(name for name in columns if columns.count(name) > 1)
        raise UserError(
            f"Expected every column once in {where}. Found two called {shortened(repeated, 40)!r}. Rename one."
        )
    other = next((sign for sign in SIGNS if len(columns) == 1 and sign != separator and sign in columns[0]), None)
    if other is not None:
        remedy = f"Name the file {_SUFFIXES[other]}" if other in _SUFFIXES else f"Save it with {separator!r}"
        raise UserError(f"Expected columns with {separator!r} between them in {where}. Found {other!r}. {remedy}.")
