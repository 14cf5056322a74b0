"""Manifests: tables of audio files that users write, as CSV or JSON lines."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UserError
from bench.files.text import read_text
from bench.registry import nearest

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SIGNS = (",", ";", "\t")
_JSON_LINES = ".jsonl"
MAX_MANIFEST_BYTES = 10**9
MANIFEST_SUFFIXES = (*_SEPARATORS, _JSON_LINES)


def read_manifest(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a manifest, every value as the text it is: ``NULL``, ``nan`` and ``007`` stay words.

    Args:
        file: ``.csv`` or ``.tsv`` with a header, or ``.jsonl`` with an object a line, where a number is the text that
            it is written as, null is no text, and a list is its items with a space between them.
        columns: those that it must have.

    Returns:
        A row an utterance, all columns.

    Raises:
        UserError: no such file, a file of another kind, encoding or structure, or a missing column.
    """
    if not file.is_file():
        raise UserError(
            f"Expected a manifest, CSV or JSON lines. Found {'a folder' if file.is_dir() else 'no file'} at {file}. "
            "Correct the path."
        )
    suffix = file.suffix.lower()
    if suffix not in MANIFEST_SUFFIXES:
        raise UserError(
            f"Expected a manifest with the suffix .csv, .tsv or .jsonl (JSON lines). Found {file}. Save it as one."
        )
    try:
        table = _read_json_lines(file) if suffix == _JSON_LINES else _read_csv(file, _SEPARATORS[suffix])
    except ValueError as error:  # What pandas', JSON's and Unicode's errors have in common.
        kind = "JSON lines" if suffix == _JSON_LINES else f"CSV in UTF-8, columns parted by {_SEPARATORS[suffix]!r},"
        told = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"Expected {kind} in {file}. It cannot be read: {told}.{_remedy(error)}") from error
    found = list(table.columns)
    if missing := [column for column in columns if column not in found]:
        raise UserError(
            f"Expected the columns {', '.join(columns)} in {file}. Found no column `{missing[0]}`. "
            f"{nearest(missing[0], found)} {_column_remedy(columns, found)}"
        )
    return table


def _remedy(error: ValueError) -> str:
    """Say what helps where the error, which is not ours, does not."""
    if isinstance(error, UnicodeError):
        return " Save it as UTF-8."
    if isinstance(error, pd.errors.EmptyDataError):
        return " Write the columns' names into its first row, and a row an utterance below."
    if isinstance(error, pd.errors.ParserError):
        return " Text that holds the sign or a quote stands in double quotes, with each quote in it doubled."
    return ""


def _column_remedy(columns: Sequence[str], found: Sequence[str]) -> str:
    if any(name != name.strip() and name.strip() in columns for name in found):
        return "Remove the spaces around the signs that part columns."
    if not set(columns) & set(found):
        return "The first row must name the columns: add it, or rename them."
    return "Add it, or rename one."


def _read_csv(file: Path, separator: str) -> pd.DataFrame:
    as_text: dict[str, Any] = {"sep": separator, "dtype": str, "na_filter": False}
    text = read_text(file, max_bytes=MAX_MANIFEST_BYTES)
    header = pd.read_csv(io.StringIO(text), header=None, nrows=1, **as_text).iloc[0]
    # Else pandas would rename the second one.
    if header.duplicated().any():
        raise ValueError(f"two columns are called {header[header.duplicated()].iloc[0]!r}; rename one")
    table: pd.DataFrame = pd.read_csv(io.StringIO(text), **as_text)
    if len(table.columns) == 1 and (
        other := [sign for sign in _SIGNS if sign != separator and sign in table.columns[0]]
    ):
        suffix = next((suffix for suffix, sign in _SEPARATORS.items() if sign == other[0]), None)
        remedy = f"name it {suffix}" if suffix else f"save it with {separator!r}"
        raise ValueError(f"its columns are parted by {other[0]!r}; {remedy}")
    # What pandas makes of a first row that is longer than the header.
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"rows have more than the header's {len(table.columns)} columns; quote text that has the sign")
    return table


def _read_json_lines(file: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(read_text(file, max_bytes=MAX_MANIFEST_BYTES).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=str, parse_float=str)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f'line {number} is no object; write one a line, such as {{"path": "a.wav"}}')
        rows.append({name: _text(value) for name, value in row.items()})
    return pd.DataFrame(rows, dtype=object).fillna("")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(item) for item in value)
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
