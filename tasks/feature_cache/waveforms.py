"""Hashes of utterances' waveforms, as the recipe prepares them. Features are stored by these hashes."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from bench.files.atomic import write_atomically
from bench.progress import tracked

WRITE_INTERVAL_S = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


def waveform_sha256(waveform: Tensor) -> str:
    """Hash samples (float32, as they enter the upstream)."""
    return hashlib.sha256(waveform.contiguous().numpy().data).hexdigest()


class WaveformIndex:
    """Stores the hashes, so that audio is decoded once and not in every run.

    Hashes are written every minute, so the next call resumes after an interruption.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hashes(self, paths: Sequence[str], preparation: str, waveform: Callable[[int], Tensor]) -> list[str]:
        """Return the hash of every utterance, in order.

        Args:
            paths: audio file of each utterance.
            preparation: everything the recipe does to the files, as text.
            waveform: decodes and prepares the utterance at a position; called for unknown hashes only.
        """
        path = self._folder / f"{_identity(paths, preparation)}.json"
        hashes = _known(path, len(paths))
        positions = range(len(hashes), len(paths))
        begun = time.monotonic()
        for index in tracked(positions, "reading audio", len(paths), "files", done=len(hashes)):
            hashes.append(waveform_sha256(waveform(index)))
            if len(hashes) == len(paths) or time.monotonic() - begun > WRITE_INTERVAL_S:
                write_atomically(path, json.dumps(hashes))
                begun = time.monotonic()
        return hashes


def _known(path: Path, num_utterances: int) -> list[str]:
    """Read the stored hashes: of all utterances, or of the first ones after an interruption. None if damaged."""
    try:
        hashes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    is_sound = isinstance(hashes, list) and all(isinstance(one, str) and _SHA256.fullmatch(one) for one in hashes)
    return hashes if is_sound and len(hashes) <= num_utterances else []


def _identity(paths: Sequence[str], preparation: str) -> str:
    """Hash everything the waveforms depend on. A changed file shows in its size and time stamp."""
    digest = hashlib.sha256(preparation.encode())
    for path in paths:
        status = Path(path).stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
