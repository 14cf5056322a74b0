"""Hashes of utterances' waveforms, as the recipe prepares them. Features are stored by these hashes."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

from bench.files.atomic import write_atomically

WRITE_INTERVAL_S = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


class WaveformHashes:
    """The hashes of one table's utterances, so that audio is decoded once and not in every run.

    They are written every minute, so the next call resumes after an interruption.
    """

    def __init__(self, folder: Path, paths: Sequence[str], preparation: str) -> None:
        """Read the known hashes.

        Args:
            folder: holds the hashes of all tables.
            paths: audio file of each utterance.
            preparation: everything the recipe does to the files, as text.
        """
        self.name = _identity(paths, preparation)
        """Identifies the utterances, as far as sizes and times of files show."""
        self._path = folder / f"{self.name}.json"
        self._hashes = _known(self._path, len(paths))
        self._is_written = True
        self._written_at = time.monotonic()

    def unknown(self) -> list[int]:
        """Return the positions of utterances without a hash."""
        return [position for position, sha256 in enumerate(self._hashes) if sha256 is None]

    def known(self) -> dict[str, int]:
        """Map every known hash to the position of an utterance."""
        return {sha256: position for position, sha256 in enumerate(self._hashes) if sha256 is not None}

    def __getitem__(self, position: int) -> str | None:
        """Return a hash. None if it is not known yet."""
        return self._hashes[position]

    def of(self, position: int) -> str:
        """Return a hash that is known."""
        sha256 = self._hashes[position]
        assert sha256 is not None, position
        return sha256

    def __setitem__(self, position: int, sha256: str) -> None:
        """Set a hash."""
        if self._hashes[position] == sha256:
            return
        self._hashes[position] = sha256
        self._is_written = False
        if time.monotonic() - self._written_at > WRITE_INTERVAL_S:
            self.write()

    def write(self) -> None:
        """Write new hashes to the disk."""
        if not self._is_written:
            write_atomically(self._path, json.dumps(self._hashes))
            self._is_written, self._written_at = True, time.monotonic()


def _known(path: Path, num_utterances: int) -> list[str | None]:
    """Read the stored hashes; None for unknown ones, and for all if the file is damaged."""
    none: list[str | None] = [None] * num_utterances
    try:
        hashes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return none
    if not isinstance(hashes, list) or len(hashes) > num_utterances:
        return none
    is_sound = all(one is None or (isinstance(one, str) and _SHA256.fullmatch(one)) for one in hashes)
    return [*hashes, *none[len(hashes) :]] if is_sound else none


def _identity(paths: Sequence[str], preparation: str) -> str:
    """Hash everything the waveforms depend on. A changed file shows in its size and time stamp."""
    digest = hashlib.sha256(preparation.encode())
    for path in paths:
        status = Path(path).stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
