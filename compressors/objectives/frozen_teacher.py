"""The teacher that students learn from."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from bench.upstream import UpstreamModel


class FrozenTeacher:
    """A frozen teacher. It is not an nn.Module, so it is never optimised, checkpointed or set to training mode."""

    def __init__(self, model: UpstreamModel, device: str = "cpu") -> None:
        """Hold ``model`` itself in evaluation mode on the CPU, else a copy on ``device``."""
        self.model = model.eval() if device == "cpu" else copy.deepcopy(model).to(device).eval()

    @torch.no_grad()
    def states(self, waveforms: Tensor) -> list[Tensor]:
        """Return DPHuBERT's hidden states of (batch, samples), (batch, frames, dim) each."""
        states, _ = self.model.distillation_states(waveforms)
        return states
