"""What the probes see: filter banks, and the hidden states of upstreams."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.audio.files import read_header, read_waveform
from bench.upstream import AnyUpstream, load_upstream
from bench.upstream.checkpoint import weights_hash
from difficulty.items import Item

BANDS = "bands"
"""Log mel filter banks, each (frames, 80), a frame each 10 ms."""
NUM_BANDS = 80
FBANK = "fbank"
FBANK_MEAN_STD = "fbank mean+std"
RANDOM = "random:mini-hubert"
FRAMES_JOINED = 2
"""Frames of FBANK joined for transcription, so that it has 20 ms as the other upstreams."""


def source_and_layer(probe: str) -> tuple[str, int | None]:
    """Take ``<upstream> layer <k>`` apart: what is computed, and which hidden state of it is looked at (None: all)."""
    found = re.fullmatch(r"(.+) layer (\d+)", probe)
    return (found[1], int(found[2])) if found else (probe, None)


def compute_features(items: Sequence[Item], source: str, *, pooled: bool) -> list[Tensor]:
    """Compute the features of all items, each utterance alone, so that no padding touches it.

    Args:
        items: the examples.
        source: `BANDS`, `FBANK_MEAN_STD`, or a model reference.
        pooled: means over time instead of sequences.

    Returns:
        Means over time (layers, dim), or hidden states (layers, frames, dim), float16; bands are always sequences.
    """
    upstream = _upstream(source)
    view = _view(source, pooled=pooled)
    features = []
    for item in items:
        audio = read_waveform(read_header(item.path), start=item.start, num_samples=item.num_samples)
        with torch.inference_mode():
            states, _ = upstream(torch.from_numpy(audio)[None])
            features.append(view(torch.cat(list(states))))
    return features


def features_name(source: str) -> str:
    """Name a kind of features by what determines them, so that kept ones are never another model's."""
    kind = source if source in (BANDS, FBANK_MEAN_STD) else "states"
    return f"{kind.replace(' ', '-')}-{weights_hash(_upstream(source))[:16]}"


def _upstream(source: str) -> AnyUpstream:
    return load_upstream(FBANK if source in (BANDS, FBANK_MEAN_STD) else source)


def _view(source: str, *, pooled: bool) -> Callable[[Tensor], Tensor]:
    """Say what is kept of (layers, frames, dim)."""
    if source == BANDS:
        return lambda states: states[0, :, :NUM_BANDS].clone()
    if source == FBANK_MEAN_STD:
        return lambda states: torch.cat([states.mean(dim=1), states.std(dim=1)], dim=1)
    if pooled:
        return lambda states: states.mean(dim=1)
    return _joined if source == FBANK else Tensor.half


def _joined(states: Tensor) -> Tensor:
    num_joined = states.shape[1] // FRAMES_JOINED
    return states[:, : num_joined * FRAMES_JOINED].reshape(1, num_joined, -1).half()


def save(features: list[Tensor], path: Path) -> None:
    """Write features for other processes."""
    draft = path.with_suffix(".draft")
    torch.save(features, draft)
    draft.replace(path)


def load(path: Path, layer: int | None = None) -> list[Tensor]:
    """Read features back: of all layers, or of one."""
    features: list[Tensor] = torch.load(path, weights_only=True)
    return features if layer is None else [states[layer : layer + 1].clone() for states in features]
