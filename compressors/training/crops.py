"""Training batches: equally long crops of audio files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bench.audio.compact import CompactFiles
from bench.audio.files import SAMPLE_RATE_HZ, AudioFile, read_waveform
from compressors.settings import TrainingConfig


class CropBatch(NamedTuple):
    """Crops of one length."""

    number: int
    """From 0 at the start of the stage."""
    waveforms: Tensor
    """(batch, samples) float32 at 16 kHz."""


class Crop(NamedTuple):
    """Part of a file."""

    file: AudioFile
    start: int
    """First sample, at 16 kHz."""
    num_samples: int

    def waveform(self) -> Tensor:
        """Read it, (samples,) float32."""
        return torch.from_numpy(read_waveform(self.file, start=self.start, num_samples=self.num_samples))


@runtime_checkable
class HasCrops(Protocol):
    """Batches that can name their files without reading them."""

    def crops(self, index: int) -> list[Crop]:
        """List the crops of batch ``index``."""
        ...


class Waveforms(Sequence[Tensor]):
    """The waveforms of the first batches, read on access."""

    def __init__(self, batches: CropBatches, num_batches: int) -> None:
        self.batches = batches
        self.num_batches = num_batches

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: Any) -> Any:
        """Read batch ``index``, (batch, samples)."""
        return self.batches[index].waveforms


class CropBatches(Dataset[CropBatch]):
    """An endless sequence of batches. Batch ``k`` depends only on the seed and ``k``.

    Utterances are sorted by length and packed into batches. Each batch is cropped to its shortest utterance, at a new
    random place each time. Every epoch has its own order; the reference implementation has a bug that repeats the order
    of the first epoch.

    Source: DPHuBERT's recipe (bucketing and cropping).
    """

    def __init__(self, files: Sequence[AudioFile], config: TrainingConfig, seed: int, alignment: int = 1) -> None:
        """Plan the batches.

        Args:
            files: the audio to train on.
            config: length of batches and crops.
            seed: seed of the orders and of the crops' places.
            alignment: every crop starts at a multiple of this many samples.
        """
        self.seed = seed
        self.alignment = alignment
        self.max_samples = round(min(config.max_duration_s, config.seconds_per_batch) * SAMPLE_RATE_HZ)
        # Compact, because every data-loading worker looks at them.
        self._files = CompactFiles(sorted(files, key=lambda file: file.num_samples))
        self._starts = self._packed(round(config.seconds_per_batch * SAMPLE_RATE_HZ))

    def _packed(self, samples_per_batch: int) -> NDArray[np.int64]:
        """Return the position of every batch's first file, and the number of files."""
        starts = []
        filled = samples_per_batch
        for position, num_samples in enumerate(self._files.num_samples.tolist()):
            length = min(num_samples, self.max_samples)
            if filled + length > samples_per_batch:
                starts.append(position)
                filled = 0
            filled += length
        return np.array([*starts, len(self._files)], dtype=np.int64)

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        return len(self._starts) - 1

    def files_of(self, position: int) -> list[AudioFile]:
        """Return the files of a batch, shortest first. Batches are sorted by length."""
        return self._files[int(self._starts[position]) : int(self._starts[position + 1])]

    def crops(self, index: int) -> list[Crop]:
        """List the crops of batch ``index``, counted over all epochs, without reading them."""
        epoch, position = divmod(index, self.num_batches)
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(self.num_batches)
        batch = self.files_of(order[position])
        num_samples = min(self.max_samples, *(file.num_samples for file in batch))
        generator = np.random.default_rng((self.seed, 1, index))
        crops = []
        for file in batch:
            places = (file.num_samples - num_samples) // self.alignment + 1
            crops.append(Crop(file, self.alignment * int(generator.integers(places)), num_samples))
        return crops

    def __getitem__(self, index: int) -> CropBatch:
        """Read batch ``index``, counted over all epochs."""
        return CropBatch(index, torch.stack([crop.waveform() for crop in self.crops(index)]))
