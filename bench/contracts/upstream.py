"""The speech representation that tasks evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Upstream(Protocol):
    """A frozen speech representation that tasks evaluate: any ``torch.nn.Module`` with these members."""

    stride: int
    """Samples between two frames at 16 kHz: 320 for the HuBERT family, 160 for fbank."""
    num_layers: int
    """Number of transformer layers. A forward pass returns ``num_layers + 1`` hidden states."""
    dim: int
    """Width of every hidden state."""

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute SUPERB's hidden states.

        Args:
            waveforms: (batch, samples) float32 at 16 kHz, zero-padded.
            lengths: (batch,) valid samples of each utterance. They are on the CPU, because reading them on a device
                would wait for it.

        Returns:
            ``num_layers + 1`` tensors (batch, frames, dim), and the valid frames of each utterance (batch,).
        """
        ...
