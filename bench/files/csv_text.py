"""Writes tables as CSV that a spreadsheet reads as text and numbers, never as commands."""

from __future__ import annotations

from typing import Any

import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width signs
NEEDS_QUOTES = frozenset(',"\r\n')
QUOTED_NOTHING = '""'


def csv_text(table: pd.DataFrame) -> str:
    """Write a table as CSV. Text that a spreadsheet would read as a formula gets a leading apostrophe.

    Source: OWASP, "CSV Injection".
    """
    rows = [list(table.columns), *table.astype(object).itertuples(index=False)]
    # Not pandas or csv: before Python 3.13 they leave a carriage return unquoted, which would start a new row.
    lines = [",".join(_quoted(_text(cell)) for cell in row) for row in rows]
    # An empty cell alone needs quotes too, or its row would be a blank line.
    return "".join(f"{line or QUOTED_NOTHING}\n" for line in lines)


def inert(text: str) -> str:
    """Make the text of one cell harmless."""
    # A file name that is not UTF-8 contains lone surrogates, which cannot be written to a file.
    encodable = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{encodable}" if encodable.startswith(FORMULA_STARTS) else encodable


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return inert(cell)
    if isinstance(cell, list | tuple | dict):
        return inert(str(cell))
    return "" if pd.isna(cell) else str(cell)


def _quoted(text: str) -> str:
    if not NEEDS_QUOTES & set(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
