"""Which waveform each utterance of a table is, by a hash of its samples as the recipe prepares them."""

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
    """Remembers the hashes, so that audio is decoded once and not at every run.

    They are written every minute while they are found: interrupted, the next call goes on from there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hashes(self, paths: Sequence[str], preparation: str, waveform: Callable[[int], Tensor]) -> list[str]:
        """Return the hash of every utterance, in order.

        Args:
            paths: of the audio of each utterance.
            preparation: all that is done to the files, as text.
            waveform: decodes and prepares an utterance, by its position, where the hashes are not known.
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
    """Read the hashes of the first utterances, all of them once a call came to its end; none where they are damaged."""
    try:
        hashes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    is_sound = isinstance(hashes, list) and all(isinstance(one, str) and _SHA256.fullmatch(one) for one in hashes)
    return hashes if is_sound and len(hashes) <= num_utterances else []


def _identity(paths: Sequence[str], preparation: str) -> str:
    """Hash what the waveforms depend on; a changed file is noticed by its size and time of change."""
    digest = hashlib.sha256(preparation.encode())
    for path in paths:
        status = Path(path).stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
