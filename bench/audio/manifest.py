"""Manifests: tables of audio files that users write, as CSV or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UserError
from bench.files.json import parse_json_object
from bench.files.paths import is_possible
from bench.files.table import read_table
from bench.files.text import read_text
from bench.registry import nearest
from bench.text import shortened

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = ".jsonl"
MAX_MANIFEST_BYTES = 10**9
MANIFEST_SUFFIXES = (*_SEPARATORS, _JSON_LINES)


def read_manifest(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a manifest. Every value stays text as written: ``NULL``, ``nan`` and ``007`` are words.

    Args:
        file: ``.csv`` or ``.tsv`` with a header, or ``.jsonl`` with one object per line. In JSON, a number becomes the
            text as written, null becomes empty text, and a list becomes its items separated by spaces.
        columns: required columns.

    Returns:
        One row per utterance, with all columns.

    Raises:
        UserError: the file is missing, of another kind, encoding or structure, or lacks a column.
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
    table = _read_json_lines(file) if suffix == _JSON_LINES else _read_csv(file, _SEPARATORS[suffix])
    found = list(table.columns)
    if missing := [column for column in columns if column not in found]:
        raise UserError(
            f"Expected the columns {', '.join(columns)} in {file}. Found no column `{missing[0]}`. "
            f"{nearest(missing[0], found)} {_column_remedy(columns, found)}"
        )
    if "path" in columns:
        _check_paths(table["path"], file)
    return table


def _check_paths(paths: pd.Series[str], file: Path) -> None:
    for number, path in enumerate(paths, start=1):
        # Callers that need a path refuse empty ones, and can name the row's other values.
        if path and not is_possible(path):
            raise UserError(
                f"Expected the path of an audio file in row {number} of {file}. Found {shortened(repr(path))}, which "
                "is too long for one. Correct it."
            )


def _column_remedy(columns: Sequence[str], found: Sequence[str]) -> str:
    if any(name != name.strip() and name.strip() in columns for name in found):
        return "Remove the spaces around the signs between columns."
    if not set(columns) & set(found):
        return "The first row must name the columns: add it, or rename them."
    return "Add it, or rename one."


def _read_csv(file: Path, separator: str) -> pd.DataFrame:
    table = read_table(file, separator, max_bytes=MAX_MANIFEST_BYTES)
    return pd.DataFrame(table.rows, columns=table.columns, dtype=object)


def _read_json_lines(file: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(read_text(file, max_bytes=MAX_MANIFEST_BYTES).split("\n"), start=1):
        if line.strip():
            row = parse_json_object(line, f"line {number} of {file}", numbers_as_text=True)
            rows.append({name: _text(value) for name, value in row.items()})
    return pd.DataFrame(rows, dtype=object).fillna("")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(item) for item in value)
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
