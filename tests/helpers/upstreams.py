"""Small upstreams."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram


class TinyUpstream(nn.Module):
    """Two random layers on one convolution; it can be killed, as a process may be, after some forward passes."""

    num_layers = 2

    def __init__(self, *, stride: int = 320, dim: int = 16, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stride = stride
        self.dim = dim
        self.conv = nn.Conv1d(1, dim, kernel_size=400, stride=stride)
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(self.num_layers))
        self.forwards_left: int | None = None
        self.lengths: list[int] = []

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        if self.forwards_left is not None:
            if self.forwards_left == 0:
                raise KeyboardInterrupt
            self.forwards_left -= 1
        self.lengths += lengths.tolist()
        states = [self.conv(waveforms[:, None]).transpose(1, 2)]
        for layer in self.layers:
            states.append(torch.tanh(layer(states[-1])))
        return states, (lengths - 400) // self.stride + 1


class LogMel(nn.Module):
    """Log-mel energies: a baseline without weights, from which a linear head can learn words."""

    num_layers = 0
    stride = 160
    dim = 40

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(n_fft=400, hop_length=self.stride, n_mels=self.dim, center=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        return [torch.log(self.mel(waveforms) + 1e-6).transpose(1, 2)], (lengths - 400) // self.stride + 1
