"""Units: the label of every frame of every file, made once and kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.audio import AudioFile
from bench.files import replacing

logger = logging.getLogger(__name__)

Labels = NDArray[np.int16]
"""One unit a frame of the model, (frames,)."""


@dataclass(frozen=True)
class FrameUnits:
    """The units of all files."""

    labels: Mapping[Path, Labels]
    """Each file's, by its path."""
    num_units: int
    """Units there are, heard or not."""
    names: tuple[str, ...] = ()
    """What the units are called, where they have names."""

    def of(self, file: AudioFile, first_frame: int, num_frames: int) -> Tensor:
        """Return the units of a stretch of a file, (frames,) int64."""
        return torch.from_numpy(self.labels[file.path][first_frame : first_frame + num_frames].astype(np.int64))


def shares(units: FrameUnits, files: Iterable[AudioFile]) -> NDArray[np.float64]:
    """Return the share of each unit in the frames of ``files``, (units,)."""
    counts = np.zeros(units.num_units)
    for file in files:
        counts += np.bincount(units.labels[file.path], minlength=units.num_units)
    heard: NDArray[np.float64] = counts / counts.sum()
    return heard


def perplexity(probabilities: NDArray[np.float64]) -> float:
    """Return the perplexity of a distribution: how many equally likely units would be as hard to guess."""
    heard = probabilities[probabilities > 0]
    return float(np.exp(-(heard * np.log(heard)).sum()))


def save_labels(path: Path, labels: Sequence[Labels]) -> None:
    """Write the labels of some files, in order, all or nothing."""
    lengths = np.array([len(each) for each in labels], dtype=np.int64)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, labels=np.concatenate(labels), lengths=lengths)


def load_labels(path: Path) -> list[Labels]:
    """Read what `save_labels` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return np.split(stored["labels"], np.cumsum(stored["lengths"])[:-1])
