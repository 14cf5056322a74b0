"""Names of rows. With ``both=dphubert``, one run compares several settings of one compressor."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench import registry
from bench.errors import UserError

NO_COMPRESSOR = "none"
"""Means no compressed row."""

RESERVED = frozenset({NO_COMPRESSOR, "compressor", "data", "tasks"})
"""Rows cannot have these names, because keys of ``--set`` begin with them."""


def compressor_by_row(chosen: Sequence[str]) -> dict[str, str]:
    """Return the compressor of each row, in the given order.

    Args:
        chosen: names of compressors, which then also name the rows, or ``<row>=<compressor>``.

    Raises:
        UserError: a row's name has invalid characters, is given twice, or is that of a compressor or a key.
    """
    rows: dict[str, str] = {}
    for text in chosen:
        row, is_named, compressor = text.rpartition("=")
        if is_named:
            _require_free_name(row, text)
        elif text == NO_COMPRESSOR:
            continue
        row = row or compressor
        if row in rows:
            raise UserError(f"--compressor names two rows {row!r}. Name one of them differently.")
        rows[row] = compressor
    return rows


def _require_free_name(row: str, text: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", row):
        raise UserError(
            f"Expected a row's name of letters, digits, '.', '_' and '-', as in both=dphubert. Found {text!r}."
        )
    if row.lower() in RESERVED or row.lower() in registry.names("bench.compressors"):
        raise UserError(f"--compressor {text}: {row!r} has a meaning of its own. Choose another name for the row.")
