"""A sample of frames for k-means, gathered in one file on disk. An interrupted call is resumed."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.audio.files import AudioFile
from bench.errors import UserError
from bench.files.atomic import naming
from bench.files.sealed import BLOCK_BYTES, read_sealed_json, set_aside, write_sealed_json
from bench.progress import tracked
from bench.upstream import UpstreamConfig
from compressors.units.frame_features import Features, FrameFeatures
from compressors.units.labels import count_frames

logger = logging.getLogger(__name__)

MOST_FRAMES = 2_000_000
"""Most frames in a sample, drawn from all frames of its files: 6.1 GB at HuBERT Base's width. The 96 hours of HuBERT's
own recipe have 17 million frames, which is 53 GB."""
SPARE_BYTES = 200_000_000
"""Space to leave free on the disk."""
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
        seed: seed of the draw, if the files have more than `MOST_FRAMES`.
    """

    def __init__(
        self, folder: Path, features: FrameFeatures, files: Sequence[AudioFile], config: UpstreamConfig, seed: int
    ) -> None:
        self.path = folder / "features.f32"
        self.note = folder / "features.json"
        self.features = features
        self.files = files
        self.chosen = _chosen_frames([config.num_frames(file.num_samples) for file in files], seed)
        self.num_frames = sum(map(len, self.chosen)) if self.chosen else count_frames(files, config)

    def all(self) -> Features:
        """Compute missing features, and return all of them, (frames, dim)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path), self.path.open("r+b" if self.path.exists() else "w+b") as file:
            digest, done = self._kept(file)
            self._require_room(file.tell())
            self._complete(file, digest, done)
        return np.memmap(self.path, np.float32, "r", shape=(self.num_frames, self.features.dim))

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _require_room(self, num_bytes_there: int) -> None:
        """Announce the space that the file takes, and refuse to begin without it.

        Raises:
            UserError: too little free space.
        """
        needed = 4 * self.num_frames * self.features.dim
        logger.info("gathering %d frames for k-means: %.1f GB in %s", self.num_frames, needed / 1e9, self.path)
        free = shutil.disk_usage(self.path.parent).free
        if free < needed - num_bytes_there + SPARE_BYTES:
            raise UserError(
                f"Expected {(needed - num_bytes_there + SPARE_BYTES) / 1e9:.1f} GB of free disk space for k-means in "
                f"{self.path.parent}. Found {free / 1e9:.1f} GB. Free some, lower kmeans_share, or set "
                "SUPERB_BENCH_CACHE to another disk."
            )

    def _complete(self, file: IO[bytes], digest: Any, done: int) -> None:
        noted = time.monotonic()
        for each in tracked(self.features.of(self.files[done:]), "features", len(self.files), "files", done=done):
            chosen = each[self.chosen[done]] if self.chosen else each
            content = np.ascontiguousarray(chosen, np.float32).tobytes()
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


def _chosen_frames(num_frames: Sequence[int], seed: int) -> list[NDArray[np.int64]] | None:
    """Draw frames from all files, by file in ascending order. None if there are few enough to use all."""
    ends = np.cumsum(num_frames)
    if ends[-1] <= MOST_FRAMES:
        return None
    drawn = np.random.default_rng(seed).choice(ends[-1], MOST_FRAMES, replace=False, shuffle=False)
    drawn.sort()
    parts = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
    return [part - (end - count) for part, end, count in zip(parts, ends, num_frames, strict=True)]
