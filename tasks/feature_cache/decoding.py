"""Decodes utterances ahead of the upstream, in processes of their own, and groups those of one length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.workers.reader_errors import leave_signals_to_parent, plain_reader_errors

DecodeAt = Callable[[int], Tensor]
"""Decodes and prepares the utterance at a position: (samples,) float32."""


class Decoded(NamedTuple):
    """One utterance."""

    position: int
    waveform: Tensor
    """(samples,) float32."""
    sha256: str
    """Hash of the samples."""


def waveform_sha256(waveform: Tensor) -> str:
    """Hash samples (float32, as they enter the upstream)."""
    return hashlib.sha256(waveform.contiguous().numpy().data).hexdigest()


def decoded(positions: Sequence[int], decode: DecodeAt, num_workers: int) -> Iterator[Decoded]:
    """Decode and hash utterances, in order.

    Args:
        positions: of the utterances.
        decode: decodes one.
        num_workers: processes that work ahead; 0 decodes in this process.

    Raises:
        UserError: an utterance cannot be read.
    """
    utterances = _Utterances(positions, decode)
    if num_workers == 0:
        yield from (utterances[number] for number in range(len(positions)))
        return
    loader: Any = DataLoader(
        utterances,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_same,
        worker_init_fn=leave_signals_to_parent,
        # Its own, because the global one initialises the head.
        generator=torch.Generator(),
    )
    with plain_reader_errors():
        yield from loader


def batches_of_one_length(utterances: Iterable[Decoded], most_samples: int) -> Iterator[list[Decoded]]:
    """Group consecutive utterances of exactly the same length, so that no batch has padding.

    Args:
        utterances: sorted by length.
        most_samples: of a batch. A longer utterance is a batch of its own.
    """
    batch: list[Decoded] = []
    for utterance in utterances:
        num_samples = len(utterance.waveform)
        if batch and (len(batch[0].waveform) != num_samples or (len(batch) + 1) * num_samples > most_samples):
            yield batch
            batch = []
        batch.append(utterance)
    if batch:
        yield batch


class _Utterances(Dataset[Decoded]):
    def __init__(self, positions: Sequence[int], decode: DecodeAt) -> None:
        self._positions = positions
        self._decode = decode

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, number: int) -> Decoded:
        position = self._positions[number]
        waveform = self._decode(position)
        return Decoded(position, waveform, waveform_sha256(waveform))


def _same(utterance: Any) -> Any:
    return utterance
