"""Paths of a run that stay inside its folder."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UserError


def inside(folder: Path, *parts: str) -> Path:
    """Return a path below a folder, unless a symbolic link leads out of the folder.

    Raises:
        UserError: a link on the path leads outside.
    """
    path = folder.joinpath(*parts)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"Expected {path} to be inside {folder}. It is a link to {path.resolve()}. Replace the link by a copy of "
            "its target, or choose another --out."
        )
    return path
