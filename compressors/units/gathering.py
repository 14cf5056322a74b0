"""Features for k-means, gathered in one file on disk. An interrupted call is resumed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np

from bench.audio.files import AudioFile
from bench.files.atomic import naming
from bench.files.sealed import BLOCK_BYTES, read_sealed_json, set_aside, write_sealed_json
from bench.progress import tracked
from bench.upstream import UpstreamConfig
from compressors.units.frame_features import Features, FrameFeatures
from compressors.units.labels import count_frames

SECONDS_BETWEEN_NOTES = 5.0


class Note(TypedDict):
    """Progress of the file."""

    files: int
    bytes: int
    sha256: str


class GatheredFeatures:
    """Features of files, one after the other. They are on disk, as hours of wide features do not fit in memory.

    Args:
        folder: folder of the file.
        features: features to compute.
        files: files to read.
        config: shape of the model, which defines the frames.
    """

    def __init__(
        self, folder: Path, features: FrameFeatures, files: Sequence[AudioFile], config: UpstreamConfig
    ) -> None:
        self.path = folder / "features.f32"
        self.note = folder / "features.json"
        self.features = features
        self.files = files
        self.num_frames = count_frames(files, config)

    def all(self) -> Features:
        """Compute missing features, and return all of them, (frames, dim)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path), self.path.open("r+b" if self.path.exists() else "w+b") as file:
            self._complete(file)
        return np.memmap(self.path, np.float32, "r", shape=(self.num_frames, self.features.dim))

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _complete(self, file: IO[bytes]) -> None:
        digest, done = self._kept(file)
        noted = time.monotonic()
        for each in tracked(self.features.of(self.files[done:]), "features", len(self.files), "files", done=done):
            content = np.ascontiguousarray(each, np.float32).tobytes()
            file.write(content)
            digest.update(content)
            done += 1
            if time.monotonic() - noted >= SECONDS_BETWEEN_NOTES or done == len(self.files):
                file.flush()
                write_sealed_json(self.note, Note(files=done, bytes=file.tell(), sha256=digest.hexdigest()))
                noted = time.monotonic()

    def _kept(self, file: IO[bytes]) -> tuple[Any, int]:
        """Go to the end of the undamaged part, and return its digest and number of files."""
        note: Note | None = read_sealed_json(self.note)
        digest = hashlib.sha256()
        left = note["bytes"] if note else 0
        while left and (block := file.read(min(left, BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
        if note and digest.hexdigest() != note["sha256"]:
            set_aside(self.note)
            note, digest = None, hashlib.sha256()
        file.truncate(note["bytes"] if note else 0)
        file.seek(0, 2)
        return digest, note["files"] if note else 0
