"""Units: the label of every frame of every file, computed once and stored."""

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
"""One unit per frame of the model, (frames,)."""


@dataclass(frozen=True)
class FrameUnits:
    """The units of all files."""

    labels: Mapping[Path, Labels]
    """Labels by path of the file."""
    num_units: int
    """Number of units, including those that no frame has."""
    names: tuple[str, ...] = ()
    """Names of the units, if they have names."""

    def of(self, file: AudioFile, first_frame: int, num_frames: int) -> Tensor:
        """Return the units of a stretch of a file, (frames,) int64."""
        return torch.from_numpy(self.labels[file.path][first_frame : first_frame + num_frames].astype(np.int64))


def drawn_files(files: Sequence[AudioFile], share: float, seed: int) -> list[AudioFile]:
    """Draw a share of the files, at least one, in their order."""
    count = min(math.ceil(len(files) * share), len(files))
    chosen = np.sort(np.random.default_rng(seed).choice(len(files), count, replace=False))
    return [files[index] for index in chosen]


def require_frames(sample: Sequence[AudioFile], num_units: int, config: UpstreamConfig) -> None:
    """Refuse files with fewer frames than clusters.

    Raises:
        UserError: they have fewer.
    """
    num_frames = count_frames(sample, config)
    if num_frames < num_units:
        raise UserError(
            f"Expected at least {num_units} frames for {num_units} clusters. Found {num_frames} in {len(sample)} "
            "files. Add audio, raise kmeans_share, or ask for fewer clusters."
        )


def count_frames(files: Sequence[AudioFile], config: UpstreamConfig) -> int:
    """Count the frames of files."""
    return sum(config.num_frames(file.num_samples) for file in files)


def shares(units: FrameUnits, files: Iterable[AudioFile]) -> NDArray[np.float64]:
    """Return the share of each unit in the frames of ``files``, (units,)."""
    counts = np.zeros(units.num_units)
    for file in files:
        counts += np.bincount(units.labels[file.path], minlength=units.num_units)
    found: NDArray[np.float64] = counts / counts.sum()
    return found


def perplexity(probabilities: NDArray[np.float64]) -> float:
    """Return the perplexity of a distribution: the number of equally likely units that are as hard to predict."""
    positive = probabilities[probabilities > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def save_labels(path: Path, labels: Sequence[Labels]) -> None:
    """Write the labels of files, in order, atomically."""
    lengths = np.array([len(each) for each in labels], dtype=np.int64)
    content = io.BytesIO()
    np.savez_compressed(content, labels=np.concatenate(labels), lengths=lengths)
    write_sealed(path, content.getvalue())


def load_labels(path: Path) -> list[Labels]:
    """Read labels written by `save_labels`. Empty if the file is absent or damaged; a damaged one is set aside."""
    content = read_sealed(path)
    if content is None:
        return []
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return np.split(stored["labels"], np.cumsum(stored["lengths"])[:-1])
