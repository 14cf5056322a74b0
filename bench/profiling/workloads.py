"""The timed workloads: single utterances with SUPERB's lengths, and batches of equal clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from bench.audio.files import SAMPLE_RATE_HZ
from bench.profiling.timing import Repeats
from bench.store.latency import FEWEST_FOR_QUARTILES
from bench.upstream.cost import SUPERB_LENGTHS

Lengths = Mapping[str, tuple[int, ...]]
"""Bucket to samples."""

QUICK = Repeats(wanted=7, limit_s=20, least=FEWEST_FOR_QUARTILES)
"""With these, HuBERT Base and a student of it take two to three minutes."""
BATCH_SIZES = (8, 32)
CLIP_DURATION_S = 5


@dataclass(frozen=True)
class Effort:
    """How thoroughly to measure."""

    repeats: int | None = None
    """Exact number of repeats. None: as in `QUICK`, without batches whose single pass exceeds its time limit."""
    every_length: bool = False
    """Use all 32 of SUPERB's utterance lengths instead of one per bucket."""

    def lengths(self) -> Lengths:
        """Choose the utterance lengths."""
        return SUPERB_LENGTHS if self.every_length else typical_lengths()

    def limits(self) -> Repeats:
        """Return how often to repeat a workload."""
        return QUICK if self.repeats is None else Repeats(self.repeats, float("inf"))


def typical_lengths() -> Lengths:
    """Return the length nearest to the mean of each of SUPERB's buckets."""
    return {bucket: (_nearest(lengths, fmean(lengths)),) for bucket, lengths in SUPERB_LENGTHS.items()}


def utterances(lengths: Lengths, device: str = "cpu") -> list[Tensor]:
    """Make one utterance of noise per length, (1, samples), in the order of the buckets."""
    return [torch.randn(1, length, device=device) for bucket in lengths.values() for length in bucket]


def clips(batch_size: int, device: str) -> Tensor:
    """Make a batch of clips, (batch_size, samples)."""
    return torch.randn(batch_size, CLIP_DURATION_S * SAMPLE_RATE_HZ, device=device)


def _nearest(lengths: tuple[int, ...], wanted: float) -> int:
    return min(lengths, key=lambda length: abs(length - wanted))
