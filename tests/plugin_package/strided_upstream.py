"""A third party's upstream: two convolutions with a stride of 10 ms. A real one would load trained weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KERNEL = 400


class StridedUpstream(nn.Module):
    """Satisfies `bench.contracts.Upstream`: one hidden state after each of the two layers."""

    stride = 160
    num_layers = 1
    dim = 32

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, self.dim, KERNEL, self.stride)
        self.mixer = nn.Conv1d(self.dim, self.dim, 1)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the hidden states, two tensors (batch, frames, 32), and the frame lengths (batch,)."""
        first = self.encoder(waveforms.unsqueeze(1)).relu()
        second = self.mixer(first).relu()
        num_frames = (lengths - KERNEL) // self.stride + 1
        return [first.transpose(1, 2), second.transpose(1, 2)], num_frames


def make_upstream() -> StridedUpstream:
    """Build the upstream, with the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StridedUpstream()
