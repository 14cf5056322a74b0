"""A long list of audio files in a few arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from bench.audio.files import AudioFile


class CompactFiles(Sequence[AudioFile]):
    """Audio files whose paths are one run of bytes and whose numbers are arrays.

    Looking at a Python object writes to its memory, the count of its references. So every data-loading worker would
    copy the whole list of a large corpus. Workers share arrays.
    """

    def __init__(self, files: Sequence[AudioFile]) -> None:
        """Copy the files."""
        names = [os.fsencode(file.path) for file in files]
        self._names = np.frombuffer(b"".join(names), dtype=np.uint8)
        self._ends = np.fromiter(accumulate(map(len, names), initial=0), dtype=np.int64, count=len(names) + 1)
        self.num_samples: NDArray[np.int64] = np.array([file.num_samples for file in files], dtype=np.int64)
        """Length of every file in samples at 16 kHz."""
        self._sample_rates_hz = np.array([file.sample_rate_hz for file in files], dtype=np.int32)
        self._is_streamed = np.array([file.is_streamed for file in files], dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.num_samples)

    @overload
    def __getitem__(self, index: int) -> AudioFile: ...
    @overload
    def __getitem__(self, index: slice) -> list[AudioFile]: ...
    def __getitem__(self, index: int | slice) -> AudioFile | list[AudioFile]:
        """Return a file, or a list of files."""
        if isinstance(index, slice):
            return [self._file(position) for position in range(*index.indices(len(self)))]
        return self._file(range(len(self))[index])

    def __iter__(self) -> Iterator[AudioFile]:
        return map(self._file, range(len(self)))

    def _file(self, position: int) -> AudioFile:
        start, end = self._ends[position : position + 2]
        return AudioFile(
            path=Path(os.fsdecode(self._names[start:end].tobytes())),
            num_samples=int(self.num_samples[position]),
            sample_rate_hz=int(self._sample_rates_hz[position]),
            is_streamed=bool(self._is_streamed[position]),
        )
