"""Files that are either whole or absent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of ``path`` at once, when all of it is on the disk.

    A reader, or a crash, never sees half of the file; folders above it are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by the process id, which two machines that share the disk may both have.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 file, in place of what may be there."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
