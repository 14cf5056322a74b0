"""Tables as CSV that a spreadsheet reads as text and numbers, and never as commands."""

from __future__ import annotations

from typing import Any

import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(table: pd.DataFrame) -> str:
    """Write a table as CSV; text that a spreadsheet would take for a formula gets an apostrophe in front.

    Source: OWASP, "CSV Injection".
    """
    return table.rename(columns=inert).map(inert).to_csv(index=False)


def inert(cell: Any) -> Any:
    """Disarm one cell; numbers stay as they are."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
