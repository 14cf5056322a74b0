"""Names in files of rows, tasks, models and data. Paths are made of them, so they must be plain."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

LONGEST = 200
FORBIDDEN_STARTS = tuple(".=+-@")
"""Starts of hidden files, of programs' options, and of what spreadsheets read as formulas."""


def plain_name(name: str) -> str:
    """Return a name that is safe in a path and in a cell of a table.

    Raises:
        ValueError: it is empty, too long, has separators or control characters, or begins with a sign.
    """
    is_plain = name.isprintable() and not {"/", "\\"} & set(name) and not name.startswith(FORBIDDEN_STARTS)
    if not name.strip() or len(name) > LONGEST or not is_plain:
        raise ValueError(
            f"no plain name: 1 to {LONGEST} printable characters without / and \\, not beginning with any of "
            f"{''.join(FORBIDDEN_STARTS)}"
        )
    return name


Name = Annotated[str, AfterValidator(plain_name)]
"""Name of a row of the leaderboard, a task, a model or a data file, as a file gives it."""
