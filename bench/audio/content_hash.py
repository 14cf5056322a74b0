"""Hash of the content of audio files. Files are hashed again only if they may have changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from bench.audio.index import Fact, look_up
from bench.errors import UserError

CHUNK_BYTES = 2**20


def audio_sha256(paths: Sequence[str], root: Path | None) -> str:
    """Hash the content of files, in order. Their locations do not matter.

    Args:
        paths: the files.
        root: folder of their corpus. Its index keeps the hash of every file, see `bench.audio.index`. None: read all.

    Raises:
        UserError: a file no longer exists.
    """
    hashes = look_up(_SHA256, paths, root)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError as error:
        raise UserError(f"The audio file {path} no longer exists. Restore it.") from error
    return digest.hexdigest()


def _same(value: str) -> str:
    return value


def _kept(_path: str, value: str) -> str:
    return value


_SHA256 = Fact("sha256", re.compile(r"[0-9a-f]{64}"), _file_sha256, _same, _kept)
