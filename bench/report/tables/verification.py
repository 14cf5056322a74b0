"""Checks a given CSV against the records."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pandas as pd

from bench.errors import UserError
from bench.files.text import read_text
from bench.leaderboard.collate import NOTE, SEEDS, UTTERANCES
from bench.leaderboard.failed_cells import FAILED

MAX_BYTES = 10**7

# Another processor or library may sum in another order.
RELATIVE_TOLERANCE = 1e-9


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
    columns = [str(name) for name in expected if name in given]
    found = [f"column {name}: missing in the CSV" for name in needed if name not in given]
    found += [f"column {name}: only in the CSV" for name in given if name not in expected]
    keys: list[str] = [name for name in ("source", "model") if name in columns]
    theirs, ours = _by_key(given, keys), _by_key(expected, keys)
    found += [f"{' '.join(key)}: missing in the CSV" for key in ours if key not in theirs]
    found += [f"{' '.join(key)}: only in the CSV" for key in theirs if key not in ours]
    for key in ours:
        rows = theirs.get(key, [])
        if rows and len(rows) != len(ours[key]):
            found.append(f"{' '.join(key)}: {len(rows)} times in the CSV, {len(ours[key])} by the records")
        for mine, other in zip(ours[key], rows, strict=False):
            found += [
                f"{' '.join(key)}, {name}: {other[name] or 'empty'} in the CSV, {mine[name] or 'empty'} by the records"
                for name in columns
                if not _agree(mine[name], other[name])
            ]
    return found


def _is_remark(name: str) -> bool:
    return name in (NOTE, FAILED) or name.endswith((f"_{UTTERANCES}", f"_{SEEDS}"))


def _cells(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def _by_key(table: pd.DataFrame, keys: list[str]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    rows: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in table.to_dict("records"):
        cells = {str(name): str(value) for name, value in row.items()}
        rows.setdefault(tuple(cells[name] for name in keys), []).append(cells)
    return rows


def _agree(mine: str, other: str) -> bool:
    if mine == other:
        return True
    try:
        return math.isclose(float(mine), float(other), rel_tol=RELATIVE_TOLERANCE)
    except ValueError:
        return False
