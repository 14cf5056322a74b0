"""The teacher that students learn from."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.upstream import UpstreamModel


class FrozenTeacher:
    """A frozen teacher. It is not an nn.Module, so it is never optimised, checkpointed or set to training mode."""

    def __init__(self, model: UpstreamModel, device: str = "cpu") -> None:
        """Hold ``model`` itself in evaluation mode on the CPU, else a copy on ``device``."""
        self.model = model.eval() if device == "cpu" else copy.deepcopy(model).to(device).eval()

    @torch.no_grad()
    def states(self, waveforms: Tensor, layers: Sequence[int]) -> Tensor:
        """Return DPHuBERT's hidden states ``layers`` of (batch, samples), as (batch, layers, frames, dim)."""
        states, _ = self.model.distillation_states(waveforms)
        return torch.stack([states[layer] for layer in layers], dim=1)
