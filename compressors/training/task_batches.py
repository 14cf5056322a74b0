"""Training batches with labelled utterances of a task next to the unlabelled audio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from bench.audio.files import SAMPLE_RATE_HZ, read_header, read_waveform
from bench.contracts import TaskLoss, Utterance
from bench.errors import UserError
from compressors.training.crops import Crop, CropBatches

PADDING = -1
"""Value that fills up targets of different lengths."""


class TaskBatch(NamedTuple):
    """One batch of unlabelled audio and one of a task."""

    number: int
    """From 0 at the start of the stage."""
    own: tuple[Tensor, ...]
    """Inputs of the objective without the task."""
    waveforms: Tensor
    """Whole utterances of the task, (batch, samples) float32, padded with zeros."""
    lengths: Tensor
    """Their samples, (batch,)."""
    targets: Tensor
    """(batch, values) int64, padded with -1."""


class TaskBatches(Dataset[TaskBatch]):
    """Adds a batch of a task to every batch of another dataset. Batch ``k`` depends only on the seed and ``k``.

    Utterances are whole, because a transcript belongs to all of an utterance. They are sorted by length and packed into
    batches; every epoch has its own order.
    """

    def __init__(self, batches: Dataset[Any], loss: TaskLoss, seconds_per_batch: float, window: int, seed: int) -> None:
        """Plan the batches.

        Args:
            batches: the unlabelled audio; named tuples that begin with ``number``.
            loss: the task.
            seconds_per_batch: most speech in one batch of the task, including padding. Longer utterances are left out.
            window: samples of the model's first frame. Shorter utterances are left out.
            seed: seed of the orders.
        """
        self.batches = batches
        self.loss = loss
        self.seed = seed
        self.packed = packed(loss.utterances, seconds_per_batch, window)

    def crops(self, index: int) -> list[Crop]:
        """List the unlabelled crops of batch ``index``, without reading them."""
        return cast("CropBatches", self.batches).crops(index)

    def __getitem__(self, index: int) -> TaskBatch:
        """Read batch ``index``, counted over all epochs."""
        number, *own = self.batches[index]
        epoch, position = divmod(index, len(self.packed))
        order = np.random.default_rng((self.seed, 3, epoch)).permutation(len(self.packed))
        chosen = self.packed[order[position]]
        waveforms = [_waveform(self.loss.utterances[each]) for each in chosen]
        targets = [self.loss.targets(each) for each in chosen]
        return TaskBatch(
            number,
            tuple(own),
            pad_sequence(waveforms, batch_first=True),
            torch.tensor([len(waveform) for waveform in waveforms]),
            pad_sequence(targets, batch_first=True, padding_value=PADDING),
        )


def packed(utterances: Sequence[Utterance], seconds_per_batch: float, window: int) -> list[list[int]]:
    """Pack utterances into batches by length, and return their indices.

    Raises:
        UserError: no utterance fits.
    """
    limit = round(seconds_per_batch * SAMPLE_RATE_HZ)
    lengths = [utterance.num_samples for utterance in utterances]
    usable = [index for index, length in enumerate(lengths) if window <= length <= limit]
    if not usable:
        longest = max(lengths, default=0) / SAMPLE_RATE_HZ
        raise UserError(
            f"Expected labelled utterances of at most {seconds_per_batch:g} s, the size of a task's batch. Found none "
            f"among {len(lengths)}; the longest has {longest:.1f} s. Raise task_seconds_per_batch."
        )
    batches: list[list[int]] = []
    # The last utterance of a batch is its longest, so it decides how much padding the others need.
    for index in sorted(usable, key=lambda each: (lengths[each], each)):
        if not batches or (len(batches[-1]) + 1) * lengths[index] > limit:
            batches.append([])
        batches[-1].append(index)
    return batches


def _waveform(utterance: Utterance) -> Tensor:
    file = read_header(utterance.path, resample=True)
    return torch.from_numpy(read_waveform(file, start=utterance.start, num_samples=utterance.num_samples))
