"""The names that other projects give our weights. They all copied fairseq's module structure."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_BLOCKS = {
    "positional_convolution.": "pos_conv_embed.",
    "layer_norm.": "layer_norm.",
    "layers.": "layers.",
    "position_bias.embedding.": "layers.0.attention.rel_attn_embed.",
}
"""Prefixes of the transformer's weights, ours and theirs. They are unique among our names."""


def renamed(weights: Mapping[str, Tensor], transformer: str, others: str = "") -> dict[str, Tensor]:
    """Rename the weights of an upstream.

    Args:
        weights: named as in `UpstreamModel`.
        transformer: prefix of the transformer's weights there.
        others: prefix of the feature projection's weights there.
    """
    return {_renamed(key, transformer, others): value.detach().contiguous() for key, value in weights.items()}


def _renamed(key: str, transformer: str, others: str) -> str:
    for ours, theirs in _BLOCKS.items():
        if key.startswith(ours):
            return transformer + theirs + key.removeprefix(ours)
    return others + key if key.startswith("feature_projection.") else key
