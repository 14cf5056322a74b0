"""Reads the text files of corpora."""

from __future__ import annotations

from pathlib import Path

from bench.errors import UserError


def read_text(file: Path) -> str:
    """Read a UTF-8 file, with or without a byte-order mark.

    Raises:
        UserError: it is written in another encoding, or cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"Expected UTF-8 in {file}. {error.reason} at byte {error.start}. Save it as UTF-8.") from error
    except OSError as error:
        raise UserError(f"Expected a readable text file. {file}: {error.strerror or error}. Mend that.") from error
