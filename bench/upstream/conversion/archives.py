"""Checks files of ``torch.save`` before torch reads them: torch verifies no checksum and trusts every size."""

from __future__ import annotations

import logging
import struct
import zipfile
import zlib
from pathlib import Path

from bench.errors import UserError

logger = logging.getLogger(__name__)

MAX_PICKLE_BYTES = 8_000_000
"""Pickles hold names, shapes and settings, and are read value by value. Those of a model of 48 layers take 0.2 MB."""

BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, EOFError, OSError, ValueError)
"""Errors that `zipfile` raises for damaged archives, depending on which field is damaged."""


def check_archive(path: Path) -> None:
    """Verify the checksum of every part of a zip archive that ``torch.save`` wrote.

    Raises:
        UserError: a part is damaged, compressed, or larger than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive.infolist())
            damaged = archive.testzip()
    except BROKEN_ARCHIVE as error:
        raise UserError(
            f"Expected a file written by torch.save. {path} is a damaged archive ({type(error).__name__}). Copy it "
            "again."
        ) from error
    if damaged is not None:
        raise UserError(
            f"Expected an undamaged file written by torch.save. In {path}, {damaged[-80:]} does not match its "
            "checksum. Copy the file again."
        )


def check_pickle(path: Path) -> None:
    """Log that a file in torch's format before version 1.6 has no checksum."""
    logger.info("%s is in torch's old format, which has no checksum: damage to it may go unnoticed", path)


def _check_sizes(path: Path, parts: list[zipfile.ZipInfo]) -> None:
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise UserError(
            f"Expected a file written by torch.save. {path} is a compressed archive. Unpack it, and name what was "
            "inside."
        )
    # Overlapping parts can make a small file expand to an endless read.
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise UserError(f"Expected a file written by torch.save. The parts of {path} are larger than it is.")
    largest = max((part.file_size for part in parts if part.filename.endswith(".pkl")), default=0)
    if largest > MAX_PICKLE_BYTES:
        raise UserError(
            f"Expected weights and settings in {path}. Found {largest / 1e6:.0f} MB of other objects. Save the "
            "weights alone, as a state dict."
        )
