"""The split of the audio into training and held-out files."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

from bench.audio.files import AudioFile

FEWEST_GROUPS = 10
"""Fewest folders of a level that may stand for speakers. Fewer are rather splits."""
LARGEST_HELD_OUT_SHARE = 0.1


def split_held_out(files: Sequence[AudioFile], held_out_s: float, seed: int) -> tuple[list[AudioFile], list[AudioFile]]:
    """Hold out some files: whole folders of the first level that may stand for speakers, else single files.

    Args:
        files: all files.
        held_out_s: about how much to hold out, in seconds: at most a tenth of all, and at least one file.
        seed: seed of the choice.

    Returns:
        The files to train on, and the held-out files, both in their order.
    """
    groups = _groups(files)
    names = sorted(set(groups))
    random.Random(seed).shuffle(names)
    wanted_s = min(held_out_s, LARGEST_HELD_OUT_SHARE * sum(file.duration_s for file in files))
    chosen: set[str] = set()
    kept_s = 0.0
    for name in names:
        if kept_s >= wanted_s or len(chosen) == len(names) - 1:
            break
        chosen.add(name)
        kept_s += sum(file.duration_s for file, group in zip(files, groups, strict=True) if group == name)
    train = [file for file, group in zip(files, groups, strict=True) if group not in chosen]
    return train, [file for file, group in zip(files, groups, strict=True) if group in chosen]


def _groups(files: Sequence[AudioFile]) -> list[str]:
    folders = [str(file.path.parent) for file in files]
    common = os.path.commonpath(folders)
    parts = [Path(folder).relative_to(common).parts for folder in folders]
    for level in range(1, max(map(len, parts)) + 1):
        groups = [str(Path(*each[:level])) for each in parts]
        if len(set(groups)) >= FEWEST_GROUPS:
            return groups
    return [str(file.path) for file in files]
