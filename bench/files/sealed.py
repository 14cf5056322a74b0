"""Working files with a SHA-256 at their end. Damaged files are set aside."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from bench.files.atomic import replacing, writing

MARK = b"\nsha256 "
SEAL_BYTES = len(MARK) + 64 + 1
DAMAGED = ".damaged"
"""Suffix of files that are set aside."""
BLOCK_BYTES = 1 << 20

logger = logging.getLogger(__name__)


@contextmanager
def sealing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that replaces ``path`` atomically, with its seal.

    Formats that know their own length, such as torch's, can be read with the seal.

    Raises:
        OSError: the disk is full, or a similar error. Its ``filename`` is ``path``.
    """
    with replacing(path) as temporary, writing(temporary) as file:
        writer = _Hashing(file)
        yield cast("IO[bytes]", writer)
        file.write(_seal(writer.digest.hexdigest()))


def write_sealed(path: Path, content: bytes) -> None:
    """Write a file with its seal, replacing an existing one."""
    with sealing(path) as file:
        file.write(content)


def read_sealed(path: Path) -> bytes | None:
    """Return the content without the seal. None if the file is missing or damaged; a damaged file is set aside."""
    return path.read_bytes()[:-SEAL_BYTES] if is_whole(path) else None


def write_sealed_json(path: Path, value: Any) -> None:
    """Write plain values as JSON with a seal."""
    write_sealed(path, json.dumps(value).encode())


def read_sealed_json(path: Path) -> Any:
    """Read what `write_sealed_json` wrote. None if the file is missing or damaged; a damaged file is set aside."""
    content = read_sealed(path)
    return None if content is None else json.loads(content)


def is_whole(path: Path) -> bool:
    """Return whether an undamaged sealed file exists. A damaged one is set aside."""
    if not path.exists():
        return False
    if path.is_file() and _has_seal(path):
        return True
    set_aside(path)
    return False


def set_aside(path: Path, folder: Path | None = None) -> None:
    """Rename a damaged file or folder, so that it is made again, and log its name.

    Args:
        path: the damaged file or folder.
        folder: where to move it; by default its own folder.
    """
    target = (folder or path.parent) / (path.name + DAMAGED)
    if target.is_dir():
        shutil.rmtree(target)
    try:
        path.replace(target)
    except FileNotFoundError:
        return  # Another process of the same training has set it aside.
    logger.warning("%s is damaged. It is set aside as %s, and made again.", path, target)


def digests(folder: Path) -> dict[str, str]:
    """Map the relative path of every file in a folder to its SHA-256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _seal(hexdigest: str) -> bytes:
    return MARK + hexdigest.encode() + b"\n"


def _has_seal(path: Path) -> bool:
    left = path.stat().st_size - SEAL_BYTES
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
        return left == 0 and file.read() == _seal(digest.hexdigest())


class _Hashing:
    """A file for formats that write from beginning to end. It hashes its content."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, content: Any, /) -> int:
        self.digest.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        pass
