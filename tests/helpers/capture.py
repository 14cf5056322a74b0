"""Models of every kind whose graphs are captured, and batches to compare them on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.testing import tiny_teacher
from bench.upstream import UpstreamModel
from bench.upstream.config import uniform_config
from bench.upstream.pruning import prune
from bench.upstream.random_shapes import random_model
from bench.upstream.reduction import factorised


def padded(num_samples: int, *lengths: int) -> tuple[Tensor, Tensor]:
    """Make a batch of noise, padded with zeros."""
    waveforms = 0.1 * torch.randn(len(lengths), num_samples, generator=torch.Generator().manual_seed(num_samples))
    for waveform, length in zip(waveforms, lengths, strict=True):
        waveform[length:] = 0
    return waveforms, torch.tensor(lengths)


def low_rank(model: UpstreamModel) -> UpstreamModel:
    weights = {path: model.get_submodule(path).weight for path in model.config.linear_sizes}
    parts = {path: torch.linalg.svd(weight.detach(), full_matrices=False) for path, weight in weights.items()}
    return factorised(model, {path: (scale[:5, None] * v[:5], u[:, :5]) for path, (u, scale, v) in parts.items()})


def without_first_blocks(kind: str) -> UpstreamModel:
    masks = {"head/0": torch.zeros(4), "head/1": torch.tensor([1.0, 0, 0, 1]), "interm/1": torch.zeros(48)}
    masks["conv/3"] = (torch.arange(8) > 2).float()
    return prune(random_model(tiny_teacher(kind).config), masks)


def without_later_blocks() -> UpstreamModel:
    masks = {"head/1": torch.zeros(4), "head/2": torch.tensor([0.0, 1, 1, 0]), "interm/2": torch.zeros(48)}
    return prune(random_model(tiny_teacher("wavlm").config), masks)


MODELS: dict[str, Callable[[], UpstreamModel]] = {
    "hubert": lambda: tiny_teacher("hubert"),
    "hubert-large": lambda: tiny_teacher("hubert-large"),
    "wav2vec2": lambda: random_model(uniform_config("wav2vec2", 32, 2, 4, 48, 8, positional_kernel=15)),
    "wavlm": lambda: tiny_teacher("wavlm"),
    "wavlm-large": lambda: tiny_teacher("wavlm-large"),
    "pruned hubert": lambda: without_first_blocks("hubert"),
    "pruned wavlm": without_later_blocks,
    "wavlm without position bias": lambda: without_first_blocks("wavlm"),
    "low-rank": lambda: low_rank(tiny_teacher("hubert")),
}
QUICKEST = "pruned wavlm"
"""It has all parts: position biases, removed blocks, pruned heads. Capturing all models takes minutes."""
