"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import UserError
from bench.text import shortened

LONGEST_NAME_BYTES = 255
"""Longest file or folder name in the file systems of Linux and macOS."""
LONGEST_PATH_BYTES = 3_000
"""Longest path from the user. The rest of Linux's 4,096 bytes is left to the folder that a path is relative to."""


def is_possible(path: str) -> bool:
    """Return whether text from a file can be a path: not empty, not too long, and without NUL characters."""
    encoded = os.fsencode(path)
    names = encoded.split(b"/")
    is_short = len(encoded) <= LONGEST_PATH_BYTES and max(map(len, names)) <= LONGEST_NAME_BYTES
    return is_short and path != "" and "\0" not in path


def expanded(path: str | Path) -> Path:
    """Replace ``~`` or ``~user`` at the start of a path with the home folder.

    Raises:
        UserError: that home folder is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"Expected a path. Found {shortened(repr(str(path)))}, whose home folder is unknown. Write the whole path."
        ) from error
