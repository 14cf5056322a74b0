"""Training audio: from the files that an `AudioSource` names to batches of equally long crops."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bench.audio.files import SAMPLE_RATE_HZ, AudioFile, hours, read_headers, read_waveform
from bench.audio.sources import source_paths, within_hours
from bench.contracts import AudioSource
from bench.errors import UserError
from compressors.training.stages import TrainingConfig

logger = logging.getLogger(__name__)


def training_files(source: AudioSource, config: TrainingConfig, shortest_samples: int) -> list[AudioFile]:
    """Find the usable audio files of a source.

    Args:
        source: where they are. LibriSpeech's training splits are taken where none is named.
        config: ``min_duration_s`` leaves shorter files out, and ``drop_longer`` those over ``max_duration_s``.
        shortest_samples: what the model needs for one frame; shorter files are left out too.

    Raises:
        UserError: nothing there, an unreadable or empty file, another sample rate, all files too short, or fewer hours
            than the source says.
    """
    files = read_headers(source_paths(source), resample=source.resample)
    shortest = max(shortest_samples, round(config.min_duration_s * SAMPLE_RATE_HZ))
    usable = [file for file in files if file.num_samples >= shortest]
    if not usable:
        longest = max(file.duration_s for file in files)
        raise UserError(
            f"Expected training audio of at least {shortest / SAMPLE_RATE_HZ:g} s. Found {len(files)} files, the "
            f"longest of {longest:.2f} s, in {_place(source)}. Add longer ones, or lower min_duration_s."
        )
    if len(usable) < len(files):
        logger.warning("%d of %d files are too short and left out", len(files) - len(usable), len(files))
    heard = within_hours(_without_longer(usable, config, source), source)
    logger.info("%d files, %.2f hours of training audio", len(heard), hours(heard))
    return heard


def _without_longer(files: list[AudioFile], config: TrainingConfig, source: AudioSource) -> list[AudioFile]:
    if not config.drop_longer:
        return files
    kept = [file for file in files if file.duration_s <= config.max_duration_s]
    if not kept:
        raise UserError(
            f"Expected training audio of at most {config.max_duration_s:g} s. Found {len(files)} longer files in "
            f"{_place(source)}. Cut them, raise max_duration_s, or --set drop_longer=false to crop them."
        )
    if len(kept) < len(files):
        num_left_out = len(files) - len(kept)
        logger.info("%d of %d files are over %g s and left out", num_left_out, len(files), config.max_duration_s)
    return kept


def _place(source: AudioSource) -> str:
    return str(source.manifest if source.layout == "manifest" else source.root)


def audio_hash(files: Sequence[AudioFile]) -> str:
    """Return a hash of the files' paths and lengths, which tells one choice of training audio from another."""
    listing = "".join(f"{file.path}\t{file.num_samples}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


class CropBatch(NamedTuple):
    """Crops of one length."""

    number: int
    """Counted from 0 at the stage's start."""
    waveforms: Tensor
    """(batch, samples) float32 at 16 kHz."""


class Crop(NamedTuple):
    """A stretch of a file."""

    file: AudioFile
    start: int
    """First sample, at 16 kHz."""
    num_samples: int

    def waveform(self) -> Tensor:
        """Read it, (samples,) float32."""
        return torch.from_numpy(read_waveform(self.file, start=self.start, num_samples=self.num_samples))


class Waveforms(Sequence[Tensor]):
    """The waveforms of the first batches, read when they are asked for."""

    def __init__(self, batches: CropBatches, num_batches: int) -> None:
        self.batches = batches
        self.num_batches = num_batches

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: Any) -> Any:
        """Read batch ``index``, (batch, samples)."""
        return self.batches[index].waveforms


class CropBatches(Dataset[CropBatch]):
    """An endless sequence of batches in which batch ``k`` depends on the seed and ``k`` alone.

    Utterances are sorted by length and packed into batches, which are cropped to their shortest utterance at a new
    random place each time. Every epoch has an order of its own; the reference implementation, by a slip, repeats the
    first epoch's.

    Source: DPHuBERT's recipe (bucketing and cropping).
    """

    def __init__(self, files: Sequence[AudioFile], config: TrainingConfig, seed: int, alignment: int = 1) -> None:
        """Plan the batches.

        Args:
            files: what is heard.
            config: says how long batches and crops are.
            seed: of orders and places.
            alignment: samples of which every crop's start is a multiple.
        """
        self.files = files
        self.seed = seed
        self.alignment = alignment
        self.max_samples = round(min(config.max_duration_s, config.seconds_per_batch) * SAMPLE_RATE_HZ)
        self.batches = self._packed(round(config.seconds_per_batch * SAMPLE_RATE_HZ))

    def _packed(self, samples_per_batch: int) -> list[list[AudioFile]]:
        batches: list[list[AudioFile]] = []
        filled = samples_per_batch
        for file in sorted(self.files, key=lambda file: file.num_samples):
            length = min(file.num_samples, self.max_samples)
            if filled + length > samples_per_batch:
                batches.append([])
                filled = 0
            batches[-1].append(file)
            filled += length
        return batches

    def crops(self, index: int) -> list[Crop]:
        """Say what batch ``index`` holds, counted over all epochs, without reading it."""
        epoch, position = divmod(index, len(self.batches))
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.batches))
        batch = self.batches[order[position]]
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
