"""Finds recordings that are in two splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.audio.threads import map_in_threads

_SAMPLE_BYTES = 4096


class _Recording(NamedTuple):
    """One file of a split."""

    split: str
    path: Path
    num_samples: int


def shared_recordings(tables: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str], list[tuple[Path, Path]]]:
    """Find files with the same content in two splits.

    Only files of equal length are opened, and only files with the same middle are read completely. Segments of longer
    files are skipped: SUPERB's keyword spotting cuts silence from the same noises in train and dev.

    Returns:
        Maps two splits to pairs of equal files, one pair per such file of the second split.
    """
    alike: dict[Hashable, list[_Recording]] = {
        (): [_Recording(split, *row) for split, table in tables.items() for row in _files(table)]
    }
    keys: tuple[Callable[[_Recording], Hashable], ...] = (_length, _size, _middle, _content)
    for key in keys:
        alike = _regrouped(alike, key)
    shared: dict[tuple[str, str], list[tuple[Path, Path]]] = defaultdict(list)
    for group in alike.values():
        paths = {split: [recording.path for recording in group if recording.split == split] for split in tables}
        for one, other in combinations([split for split in tables if paths[split]], 2):
            shared[one, other] += [(paths[one][0], path) for path in paths[other]]
    return dict(shared)


def _files(table: pd.DataFrame) -> list[tuple[Path, int]]:
    whole = table[table["start_sec"].isna()] if "start_sec" in table else table
    return [(Path(path), int(length)) for path, length in zip(whole["wav_path"], whole["num_samples"], strict=True)]


def _regrouped(
    alike: Mapping[Hashable, Sequence[_Recording]], key: Callable[[_Recording], Hashable]
) -> dict[Hashable, list[_Recording]]:
    """Divide groups by another key, and drop groups with recordings of one split only."""
    recordings = [(known, recording) for known, group in alike.items() for recording in group]
    keys = map_in_threads(lambda pair: key(pair[1]), recordings)
    parts = defaultdict(list)
    for (known, recording), value in zip(recordings, keys, strict=True):
        parts[known, value].append(recording)
    return {name: part for name, part in parts.items() if len({recording.split for recording in part}) > 1}


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
