"""Names that files give to rows, tasks and models: as plain as names that are typed, because paths are made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from bench.errors import UserError

LONGEST = 200
FORBIDDEN_STARTS = tuple(".=+-@")
"""Hidden files, options of programs, and what spreadsheets take for formulas."""


def plain_name(name: str) -> str:
    """Return a name that may be part of a path and a cell of a table.

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
    """Return a path below a folder that no symbolic link leads out of.

    Raises:
        UserError: a link on the way leads elsewhere.
    """
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"Expected {path} to be inside {folder}. It leads to {path.resolve()}. Replace the link by what it leads "
            "to, or choose another --out."
        )
    return path
