"""Checks a given CSV against the records: rebuild it, and compare cell by cell."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.files.text import read_text
from bench.leaderboard.collate import NOTE, SEEDS, UTTERANCES
from bench.leaderboard.failed_cells import FAILED

MAX_BYTES = 10**7

# Another processor or library may sum in another order.
RELATIVE_TOLERANCE = 1e-9

Rows = dict[str, list[dict[str, str]]]
"""Run and model to the rows with that name."""


def read_csv_cells(path: Path) -> pd.DataFrame:
    """Read a CSV's cells unchanged.

    Raises:
        UserError: the file is missing, is not a CSV, or is no leaderboard.
    """
    text = read_text(path, max_bytes=MAX_BYTES)
    try:
        table = _cells(text)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"Expected a leaderboard's CSV at {path}. Found none that can be read. Correct it.") from error
    if "model" not in table:
        raise UserError(f"Expected a leaderboard's CSV, with the column model, at {path}. Found none. Name another.")
    return table


def differences(given: pd.DataFrame, rebuilt_csv: str) -> list[str]:
    """Compare a CSV with the records' values, cell by cell.

    Numbers may differ beyond the ninth digit, and order does not matter. A column without any figure may be missing. So
    may the numbers of utterances and seeds behind scores, which CSVs of earlier versions lack.

    Args:
        given: from `read_csv_cells`.
        rebuilt_csv: the text that the suite would write today.

    Returns:
        One line per difference.
    """
    expected = _cells(rebuilt_csv)
    needed = [name for name in expected if any(expected[name]) and not _is_remark(str(name))]
    found = [f"column {name}: missing in the CSV" for name in needed if name not in given]
    found += [f"column {name}: only in the CSV" for name in given if name not in expected]
    columns = [str(name) for name in expected if name in given]
    theirs, ours = _rows(given, columns), _rows(expected, columns)
    for name in dict.fromkeys([*ours, *theirs]):
        found += _row_differences(name, ours.get(name, []), theirs.get(name, []), columns)
    return found


def _row_differences(
    name: str, ours: list[dict[str, str]], theirs: list[dict[str, str]], columns: list[str]
) -> Iterator[str]:
    if len(ours) != len(theirs):
        yield f"{name}: {len(theirs)} times in the CSV, {len(ours)} by the records"
    for mine, other in zip(ours, theirs, strict=False):
        for column in columns:
            if not _agree(mine[column], other[column]):
                here, there = other[column] or "empty", mine[column] or "empty"
                yield f"{name}, {column}: {here} in the CSV, {there} by the records"


def _is_remark(name: str) -> bool:
    return name in (NOTE, FAILED, SEEDS) or name.endswith((f"_{UTTERANCES}", f"_{SEEDS}"))


def _cells(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def _rows(table: pd.DataFrame, columns: list[str]) -> Rows:
    rows: Rows = {}
    for row in table[columns].astype(str).to_dict("records"):
        name = " ".join(row[key] for key in ("source", "model") if key in row)
        rows.setdefault(name, []).append({str(column): value for column, value in row.items()})
    return rows


def _agree(mine: str, other: str) -> bool:
    if mine == other:
        return True
    try:
        return math.isclose(float(mine), float(other), rel_tol=RELATIVE_TOLERANCE)
    except ValueError:
        return False
