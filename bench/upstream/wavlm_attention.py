"""WavLM's one difference from HuBERT: self-attention with a gated relative position bias.

Source: WavLM (arXiv 2110.13900) section III-A. The parameters have the names of the published checkpoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.upstream.attention import SelfAttention
from bench.upstream.config import RelativePosition


def relative_position_buckets(num_frames: int, shape: RelativePosition, device: torch.device) -> Tensor:
    """Assign every pair of frames to a bucket by distance: exact if near, logarithmic if far.

    Returns:
        (num_frames, num_frames) int64: the bucket of key minus query. Later keys are in the upper half.
    """
    position = torch.arange(num_frames, device=device)
    distance = position[None, :] - position[:, None]
    half = shape.num_buckets // 2
    exact = half // 2
    far = torch.log(distance.abs().clamp(min=1).float() / exact) / math.log(shape.max_distance / exact)
    far_bucket = (exact + far * (half - exact)).long().clamp(max=half - 1)
    bucket = torch.where(distance.abs() < exact, distance.abs(), far_bucket)
    return bucket + half * (distance > 0)


class RelativePositionBias(nn.Module):
    """One learned bias per bucket and head, shared by all layers (layer 0 owns it in other implementations)."""

    def __init__(self, shape: RelativePosition, total_heads: int) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.num_buckets, total_heads)

    def forward(self, num_frames: int) -> Tensor:
        """Return the bias of every head, (total_heads, num_frames, num_frames)."""
        buckets = relative_position_buckets(num_frames, self.shape, self.embedding.weight.device)
        bias: Tensor = self.embedding(buckets)
        # Every layer reads the bias. Strided reads would cost more than this one copy.
        return bias.permute(2, 0, 1).contiguous()


class GatedSelfAttention(SelfAttention):
    """Self-attention in which each query scales the position bias by its own gate.

    Gates are computed for all of the teacher's heads from the layer's whole input: pruning does not remove them.
    """

    kept_heads: Tensor

    def __init__(self, dim: int, heads: tuple[int, ...], head_dim: int, dropout: float, total_heads: int) -> None:
        super().__init__(dim, heads, head_dim, dropout)
        self.total_heads = total_heads
        self.gru_rel_pos_linear = nn.Linear(dim // total_heads, 8)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, total_heads, 1, 1))
        self.register_buffer("kept_heads", torch.tensor(heads, dtype=torch.long), persistent=False)
        self.keeps_all_heads = len(heads) == total_heads

    def scores_bias(self, hidden: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor | None:
        """Combine the padding mask and the gated position bias into one bias for the attention scores."""
        if position_bias is None:
            return key_mask
        bias = self._gate(hidden)
        if self.keeps_all_heads:
            bias = bias * position_bias
        else:
            bias = bias[:, self.kept_heads] * position_bias[self.kept_heads]
        return bias if key_mask is None else bias.masked_fill(~key_mask, float("-inf"))

    def _gate(self, hidden: Tensor) -> Tensor:
        batch, frames, _ = hidden.shape
        queries = hidden.view(batch, frames, self.total_heads, -1).transpose(1, 2)
        logits = self.gru_rel_pos_linear(queries).view(batch, self.total_heads, frames, 2, 4).sum(-1)
        update, reset = torch.sigmoid(logits).chunk(2, dim=-1)  # (batch, total_heads, frames, 1) each
        gate: Tensor = update * (reset * self.gru_rel_pos_const - 1.0) + 2.0
        return gate
