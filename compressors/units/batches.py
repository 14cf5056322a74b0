"""Training batches with the units of their frames, and what is kept from training."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bench.audio.files import AudioFile
from bench.upstream import UpstreamConfig
from compressors.pretraining.augmentation import AugmentationConfig, mixed, noisy
from compressors.training.audio import Crop, CropBatches
from compressors.training.stages import TrainingConfig
from compressors.units.labels import FrameUnits

FEWEST_GROUPS = 10
"""Folders of a level that may stand for speakers: fewer are splits or the like."""
LARGEST_HELD_OUT_SHARE = 0.1


class UnitBatch(NamedTuple):
    """Crops of one length and the units of their frames."""

    number: int
    """Counted from 0 at the stage's start."""
    waveforms: Tensor
    """(batch, samples) float32 at 16 kHz."""
    labels: Tensor
    """(batch, targets, frames) int64."""


class UnitBatches(Dataset[UnitBatch]):
    """An endless sequence of batches in which batch ``k`` depends on the seed and ``k`` alone.

    Crops begin where a frame of the whole utterance does, so that its units are theirs.
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
            files: what is heard.
            targets: the units of each kind.
            shape: of the model whose frames they are.
            config: says how long batches and crops are.
            seed: of orders, places and augmentation.
            augmentation: what is done to the audio; nothing by default.
        """
        self.crop_batches = CropBatches(files, config, seed, alignment=shape.stride)
        self.targets = targets
        self.shape = shape
        self.augmentation = augmentation or AugmentationConfig()
        self.seed = seed

    def crops(self, index: int) -> list[Crop]:
        """Say what batch ``index`` holds, counted over all epochs, without reading it."""
        return self.crop_batches.crops(index)

    def __getitem__(self, index: int) -> UnitBatch:
        """Read batch ``index``, counted over all epochs."""
        crops = self.crops(index)
        waveforms = torch.stack([crop.waveform() for crop in crops])
        num_frames = self.shape.num_frames(waveforms.shape[1])
        labels = [
            torch.stack([units.of(crop.file, crop.start // self.shape.stride, num_frames) for units in self.targets])
            for crop in crops
        ]
        return UnitBatch(index, self._augmented(waveforms, index), torch.stack(labels))

    def _augmented(self, waveforms: Tensor, index: int) -> Tensor:
        generator = np.random.default_rng((self.seed, 2, index))
        waveforms = mixed(waveforms, self.augmentation.mixing_probability, generator)
        return noisy(waveforms, self.augmentation.noise_probability, generator)


def split_held_out(files: Sequence[AudioFile], held_out_s: float, seed: int) -> tuple[list[AudioFile], list[AudioFile]]:
    """Keep some files from training: whole folders of the first level that may stand for speakers, else single files.

    Args:
        files: all.
        held_out_s: about how much to keep, in seconds; a tenth of all at most, and one file at least.
        seed: of the choice.

    Returns:
        The files to train on, and those held out, in their order.
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
