"""What the probes see: filter banks, and the hidden states of a model with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.audio import read_header, read_waveform
from bench.upstream import load_upstream
from difficulty.items import Item

NUM_BANDS = 80
FBANK = "fbank"
FBANK_MEAN_STD = "fbank mean+std"
RANDOM = "random:mini-hubert"
FROZEN = (FBANK, FBANK_MEAN_STD, RANDOM)
FRAMES_JOINED = 2
"""Frames of FBANK joined for transcription, so that it has 20 ms as the other upstreams."""


@dataclass(frozen=True)
class Features:
    """Of all items of a task, in their order."""

    bands: list[Tensor]
    """Log mel filter banks, each (frames, 80), a frame each 10 ms."""
    frozen: dict[str, list[Tensor]]
    """By the name of the upstream: means over time (layers, dim), or hidden states (layers, frames, dim), float16."""


def compute_features(items: Sequence[Item], *, pooled: bool) -> Features:
    """Compute all features, each utterance alone, so that no padding touches it.

    Args:
        items: the examples.
        pooled: means over time instead of sequences.
    """
    fbank, model = load_upstream(FBANK), load_upstream(RANDOM)
    bands: list[Tensor] = []
    frozen: dict[str, list[Tensor]] = {name: [] for name in FROZEN if pooled or name != FBANK_MEAN_STD}
    for item in items:
        waveform = torch.from_numpy(
            read_waveform(read_header(item.path), start=item.start, num_samples=item.num_samples)
        )[None]
        with torch.inference_mode():
            (banks,), _ = fbank(waveform)
            states = torch.cat(model(waveform)[0])  # (layers, frames, dim)
        bands.append(banks[0, :, :NUM_BANDS].clone())
        if pooled:
            frozen[FBANK].append(banks.mean(dim=1))
            frozen[FBANK_MEAN_STD].append(torch.cat([banks.mean(dim=1), banks.std(dim=1)], dim=1))
            frozen[RANDOM].append(states.mean(dim=1))
        else:
            num_joined = banks.shape[1] // FRAMES_JOINED
            joined = banks[:, : num_joined * FRAMES_JOINED].reshape(1, num_joined, -1)
            frozen[FBANK].append(joined.half())
            frozen[RANDOM].append(states.half())
    return Features(bands, frozen)


def save(features: Features, path: Path) -> None:
    """Write features for other processes."""
    draft = path.with_suffix(".draft")
    torch.save({"bands": features.bands, "frozen": features.frozen}, draft)
    draft.replace(path)


def load(path: Path) -> Features:
    """Read features back."""
    return Features(**torch.load(path, weights_only=True))
