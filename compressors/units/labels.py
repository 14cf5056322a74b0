"""Units: the label of every frame of every file, made once and kept on disk."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.audio.files import AudioFile
from bench.errors import UserError
from bench.files.sealed import read_sealed, write_sealed
from bench.upstream import UpstreamConfig

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


def drawn_files(files: Sequence[AudioFile], share: float, seed: int) -> list[AudioFile]:
    """Draw a share of files, one at least, in their order."""
    count = min(math.ceil(len(files) * share), len(files))
    chosen = np.sort(np.random.default_rng(seed).choice(len(files), count, replace=False))
    return [files[index] for index in chosen]


def require_frames(sample: Sequence[AudioFile], num_units: int, config: UpstreamConfig) -> None:
    """Refuse files of fewer frames than clusters are wanted.

    Raises:
        UserError: they have.
    """
    num_frames = count_frames(sample, config)
    if num_frames < num_units:
        raise UserError(
            f"Expected at least {num_units} frames to find as many clusters. Found {num_frames} in {len(sample)} "
            "files. Add audio, raise kmeans_share, or ask for fewer clusters."
        )


def count_frames(files: Sequence[AudioFile], config: UpstreamConfig) -> int:
    """Count the frames that a model makes of files."""
    return sum(config.num_frames(file.num_samples) for file in files)


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
    content = io.BytesIO()
    np.savez_compressed(content, labels=np.concatenate(labels), lengths=lengths)
    write_sealed(path, content.getvalue())


def load_labels(path: Path) -> list[Labels]:
    """Read what `save_labels` wrote; nothing where there is no file, or a damaged one, which is set aside."""
    content = read_sealed(path)
    if content is None:
        return []
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return np.split(stored["labels"], np.cumsum(stored["lengths"])[:-1])
