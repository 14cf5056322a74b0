"""Names of rows. With ``both=dphubert``, one run compares several settings of one compressor."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench import registry
from bench.contracts.names import LONGEST
from bench.errors import UserError
from bench.text import shortened

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
            require_free_name(row)
        elif text == NO_COMPRESSOR:
            continue
        row = row or compressor
        if row in rows:
            raise UserError(f"--compressor names two rows {row!r}. Name one of them differently.")
        rows[row] = compressor
    return rows


def require_row_name(row: object) -> None:
    """Refuse what cannot be a row's name, in tables and in paths.

    Raises:
        UserError: it is no text, too long, or has other characters.
    """
    if not (isinstance(row, str) and len(row) <= LONGEST and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", row)):
        raise UserError(
            f"Expected a row's name of at most {LONGEST} letters, digits, '.', '_' and '-' that begins with a letter "
            f"or digit. Found {shortened(repr(row))}."
        )


def require_free_name(row: object) -> None:
    """Refuse a name that a row with settings of its own cannot have.

    Raises:
        UserError: it cannot be a row's name, or it is that of a compressor or the start of a key.
    """
    require_row_name(row)
    if str(row).lower() in RESERVED or str(row).lower() in registry.names("bench.compressors"):
        raise UserError(f"Found the row name {row!r}, but {row!r} has a meaning of its own. Choose another name.")
