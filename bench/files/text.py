"""Reads the user's text files, within a size limit."""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import UserError

MAX_TEXT_BYTES = 100 * 10**6
_UNUSABLE = re.compile("[\0\ud800-\udfff]")


def read_text(file: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a regular file in UTF-8, with or without a byte-order mark. Line ends become line feeds.

    Args:
        file: path of the file.
        max_bytes: larger files are refused before they are read.

    Raises:
        UserError: the file is not a regular file, is too large, has another encoding or a NUL character, or cannot be
            read. The error names the file, and the line if there is one.
    """
    try:
        # Reading a pipe or a device could block, or never end.
        if not file.is_file():
            raise UserError(
                f"Expected a text file. Found {'a special file' if file.exists() else 'no file'} at {file}. "
                "Correct the path."
            )
        content = file.read_bytes() if file.stat().st_size <= max_bytes else None
    except OSError as error:
        raise UserError(
            f"Expected a readable text file. {file}: {error.strerror or error}. Make it readable."
        ) from error
    if content is None:
        raise UserError(f"Expected at most {max_bytes / 10**6:g} MB of text in {file}. Found more. Is it another file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"Expected UTF-8 in line {line} of {file}. Found other bytes ({error.reason} at byte {error.start}). "
            "Save the file as UTF-8."
        ) from error
    text = re.sub(r"\r\n?", "\n", text)
    position = text.find("\0")
    if position >= 0:
        line = text.count("\n", 0, position) + 1
        raise UserError(f"Expected text in line {line} of {file}. Found a NUL character. Is the file damaged?")
    return text


def is_plain(text: str) -> bool:
    """Return whether text can be written in UTF-8 and be a path: no NUL character and no half of a surrogate pair."""
    return not _UNUSABLE.search(text)
