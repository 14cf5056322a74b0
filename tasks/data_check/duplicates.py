"""Recordings that are in two splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd

_SAMPLE_BYTES = 4096
_NUM_THREADS = 8


class _Recording(NamedTuple):
    """One file of a split."""

    split: str
    path: Path
    num_samples: int


def shared_recordings(tables: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str], list[tuple[Path, Path]]]:
    """Find files of equal content in two splits.

    Only files of equal length are opened, and only those that are equal in the middle are read whole. Segments of a
    longer file are left out: SUPERB's keyword spotting takes its silence from the same noises in train and dev.

    Returns:
        For every two splits that share any, the pairs of files.
    """
    groups = [[_Recording(split, *row) for split, table in tables.items() for row in _files(table)]]
    keys: tuple[Callable[[_Recording], Hashable], ...] = (_length, _size, _middle, _content)
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for key in keys:
            groups = [part for group in groups for part in _parted(group, list(pool.map(key, group)))]
    shared = defaultdict(list)
    for group in groups:
        for one, other in combinations(group, 2):
            if one.split != other.split:
                shared[one.split, other.split].append((one.path, other.path))
    return dict(shared)


def _files(table: pd.DataFrame) -> list[tuple[Path, int]]:
    whole = table[table["start_sec"].isna()] if "start_sec" in table else table
    return [(Path(path), int(length)) for path, length in zip(whole["wav_path"], whole["num_samples"], strict=True)]


def _parted(group: Sequence[_Recording], keys: Sequence[Hashable]) -> list[list[_Recording]]:
    """Part a group by the keys of its files, and drop the parts that are of one split alone."""
    parts = defaultdict(list)
    for recording, key in zip(group, keys, strict=True):
        parts[key].append(recording)
    return [part for part in parts.values() if len({recording.split for recording in part}) > 1]


def _length(recording: _Recording) -> int:
    return recording.num_samples


def _size(recording: _Recording) -> int:
    return recording.path.stat().st_size


def _middle(recording: _Recording) -> bytes:
    with recording.path.open("rb") as file:
        file.seek(max(0, recording.path.stat().st_size - _SAMPLE_BYTES) // 2)
        return hashlib.blake2b(file.read(_SAMPLE_BYTES)).digest()


def _content(recording: _Recording) -> bytes:
    return hashlib.blake2b(recording.path.read_bytes()).digest()
