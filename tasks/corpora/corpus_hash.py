"""One hash of all of a corpus that scores depend on, so that changed labels or audio are noticed."""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.audio.threads import map_in_threads
from bench.cache_folder import cache_root
from bench.errors import UserError
from bench.files.atomic import write_atomically

logger = logging.getLogger(__name__)

SCORED_COLUMNS = ("id", "num_samples", "label", "labels", "transcription", "iob", "start_sec", "end_sec")
CHUNK_BYTES = 2**20
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def corpus_sha256(splits: Mapping[str, pd.DataFrame], further_columns: Collection[str] = ()) -> str:
    """Hash a corpus: utterances, labels and the bytes of the audio, but not where the files are.

    Args:
        splits: tables with the column ``wav_path`` and some of `SCORED_COLUMNS`.
        further_columns: others that scores depend on.

    Raises:
        UserError: a file is gone.
    """
    digest = hashlib.sha256()
    for name, table in splits.items():
        columns = [str(column) for column in table if column in SCORED_COLUMNS or column in further_columns]
        digest.update(f"{name}\n{table[sorted(columns)].to_csv(index=False)}".encode())
        digest.update(_audio_sha256(list(dict.fromkeys(map(str, table["wav_path"])))).encode())
    return digest.hexdigest()


def _audio_sha256(paths: Sequence[str]) -> str:
    """Hash the files' content, in order; it is read again only where size or time of change of a file differ."""
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
        # The time of change of the entry (ctime) differs even where that of the content was set back.
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    return digest.hexdigest()


def _file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
