"""Training batches with the units of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bench.audio.files import AudioFile
from bench.upstream import UpstreamConfig
from compressors.settings import TrainingConfig
from compressors.training.augmentation import AugmentationConfig, augmented
from compressors.training.crops import Crop, CropBatches
from compressors.units.labels import FrameUnits


class UnitBatch(NamedTuple):
    """Crops of one length and the units of their frames."""

    number: int
    """From 0 at the start of the stage."""
    waveforms: Tensor
    """(batch, samples) float32 at 16 kHz."""
    labels: Tensor
    """(batch, targets, frames) int64."""


class UnitBatches(Dataset[UnitBatch]):
    """An endless sequence of batches. Batch ``k`` depends only on the seed and ``k``.

    Crops start at a frame of the whole utterance, so that frames and units correspond.
    """

    def __init__(
        self,
        files: Sequence[AudioFile],
        targets: Sequence[FrameUnits],
        shape: UpstreamConfig,
        config: TrainingConfig,
        seed: int,
        *,
        augmentation: AugmentationConfig | None = None,
    ) -> None:
        """Plan the batches.

        Args:
            files: the audio to train on.
            targets: the units of each target.
            shape: shape of the model, which defines the frames.
            config: length of batches and crops.
            seed: seed of the orders, the crops' places and the augmentation.
            augmentation: changes to the audio; none by default.
        """
        self.crop_batches = CropBatches(files, config, seed, alignment=shape.stride)
        self.targets = targets
        self.shape = shape
        self.augmentation = augmentation or AugmentationConfig()
        self.seed = seed

    def crops(self, index: int) -> list[Crop]:
        """List the crops of batch ``index``, counted over all epochs, without reading them."""
        return self.crop_batches.crops(index)

    def __getitem__(self, index: int) -> UnitBatch:
        """Read batch ``index``, counted over all epochs."""
        crops = self.crops(index)
        waveforms = torch.stack([crop.waveform() for crop in crops])
        num_frames = self.shape.num_frames(waveforms.shape[1])
        labels = torch.empty(len(crops), len(self.targets), num_frames, dtype=torch.int64)
        for row, crop in zip(labels, crops, strict=True):
            for target, units in zip(row, self.targets, strict=True):
                target[:] = units.of(crop.file, crop.start // self.shape.stride, num_frames)
        return UnitBatch(index, self._augmented(waveforms, index), labels)

    def _augmented(self, waveforms: Tensor, index: int) -> Tensor:
        generator = np.random.default_rng((self.seed, 2, index))
        return augmented(waveforms, self.augmentation, generator)
