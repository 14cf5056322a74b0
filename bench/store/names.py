"""Names in files of rows, tasks and models. Paths are made of them, so they must be as plain as typed names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from bench.errors import UserError

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
"""A row of the leaderboard, a task or a model, as a file names it."""


def inside(folder: Path, *parts: str) -> Path:
    """Return a path below a folder, unless a symbolic link leads out of the folder.

    Raises:
        UserError: a link on the path leads outside.
    """
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"Expected {path} to be inside {folder}. It leads to {path.resolve()}. Replace the link by what it leads "
            "to, or choose another --out."
        )
    return path
