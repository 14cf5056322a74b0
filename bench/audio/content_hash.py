"""Hash of the content of audio files. Files are hashed again only if they may have changed."""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from bench.audio.threads import map_in_threads
from bench.cache_folder import cache_root
from bench.errors import UserError
from bench.files.atomic import write_atomically

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**20
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def audio_sha256(paths: Sequence[str]) -> str:
    """Hash the content of files, in order. Their locations do not matter.

    The cache keeps the hash. Files are read again only if the size or a time of change of one differs.

    Raises:
        UserError: a file no longer exists.
    """
    kept = cache_root() / "audio-hashes" / f"{_state(paths)}.txt"
    try:
        known = kept.read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        known = ""
    if len(known) == hashlib.sha256().digest_size * 2:
        return known
    found = hashlib.sha256("".join(map_in_threads(_file_sha256, paths)).encode()).hexdigest()
    try:
        write_atomically(kept, found)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        logger.info("The hash of the audio is computed again by the next call: %s (%s)", kept.parent, error.strerror)
    return found


def _state(paths: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = Path(path).stat()
        except FileNotFoundError as error:
            raise UserError(f"Expected the audio file {path}. Found none any more. Restore it.") from error
        # The entry's time of change (ctime) differs even if the content's (mtime) was set back.
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    return digest.hexdigest()


def _file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
