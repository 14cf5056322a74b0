"""Multi-head self-attention over the heads that a layer keeps."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Fused scaled dot-product self-attention, as in HuBERT and wav2vec 2.0."""

    def __init__(self, dim: int, heads: tuple[int, ...], head_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = len(heads)
        self.head_dim = head_dim
        self.dropout = dropout
        width = self.num_heads * head_dim
        self.k_proj = nn.Linear(dim, width)
        self.v_proj = nn.Linear(dim, width)
        self.q_proj = nn.Linear(dim, width)
        self.out_proj = nn.Linear(width, dim)

    def forward(self, hidden: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor:
        """Let every frame attend to every valid frame.

        Args:
            hidden: (batch, frames, dim).
            key_mask: (batch, 1, 1, frames) bool, True where a frame is valid. None if all are valid.
            position_bias: (total_heads, frames, frames), or None.

        Returns:
            (batch, frames, dim).
        """
        attended = F.scaled_dot_product_attention(
            self._split(self.q_proj(hidden)),
            self._split(self.k_proj(hidden)),
            self._split(self.v_proj(hidden)),
            attn_mask=self.scores_bias(hidden, key_mask, position_bias),
            dropout_p=self.dropout if self.training else 0.0,
        )  # (batch, heads, frames, head_dim)
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output

    def scores_bias(self, hidden: Tensor, key_mask: Tensor | None, position_bias: Tensor | None) -> Tensor | None:  # noqa: ARG002 - WavLM's needs all
        """Return the mask of the attention scores, or the bias to add to them."""
        return key_mask

    def _split(self, projected: Tensor) -> Tensor:
        batch, frames, _ = projected.shape
        return projected.view(batch, frames, self.num_heads, self.head_dim).transpose(1, 2)
