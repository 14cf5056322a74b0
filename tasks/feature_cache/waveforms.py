"""Which waveform each utterance of a table is, by a hash of its samples as the recipe prepares them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from bench.files import write_atomically


def waveform_sha256(waveform: Tensor) -> str:
    """Hash samples (float32, as they enter the upstream)."""
    return hashlib.sha256(waveform.contiguous().numpy().data).hexdigest()


class WaveformIndex:
    """Remembers the hashes, so that audio is decoded once and not at every run."""

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
        try:
            hashes: list[str] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            positions = tqdm(range(len(paths)), "audio", disable=None, leave=False)
            hashes = [waveform_sha256(waveform(index)) for index in positions]
            write_atomically(path, json.dumps(hashes))
        return hashes


def _identity(paths: Sequence[str], preparation: str) -> str:
    """Hash what the waveforms depend on; a changed file is noticed by its size and time of change."""
    digest = hashlib.sha256(preparation.encode())
    for path in paths:
        status = Path(path).stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
