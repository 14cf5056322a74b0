"""Parameters and multiply-accumulate operations (MACs), computed from a model's shape alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from bench.upstream.config import UpstreamConfig

UNITS = ("conv", "head", "interm", "attlayer", "ffnlayer")
"""The prunable units, by DPHuBERT's names: channels of a convolution, attention heads, feed-forward units,
whole attention blocks, whole feed-forward blocks.
"""

Count: TypeAlias = "int | Tensor"
"""A number of units: an integer, or a scalar tensor for an expected number under gates."""

Units: TypeAlias = "Mapping[str, Sequence[int] | Tensor]"
"""Number of units of each kind in `UNITS` by layer: integers, or tensors (layers,) for expected numbers under gates."""

SUPERB_LENGTHS = {
    "short": (20560, 34560, 38480, 42560, 45600, 48720, 52000, 55120),
    "medium": (59120, 62720, 66400, 71200, 75200, 78640, 82800, 87520),
    "long": (92720, 98560, 104400, 111120, 118480, 125040, 132720, 142640),
    "longer": (154000, 166720, 180880, 197920, 217920, 239280, 268160, 326000),
}
"""Lengths in samples of the 32 LibriSpeech test-clean utterances that SUPERB profiles, in its four buckets.

Source: B06901052/DeepSpeed, branch ``superb-challenge``, the official profiler of SUPERB (arXiv 2210.08634).
"""
ALL_SUPERB_LENGTHS = tuple(length for lengths in SUPERB_LENGTHS.values() for length in lengths)

WAVLM_GATE_WIDTH = 8
"""Outputs of the linear layer that gates WavLM's position bias."""


@dataclass(frozen=True)
class SuperbMacs:
    """MACs summed over SUPERB's 32 utterances."""

    macs: int
    """The plain count: matrix products and convolutions, without biases."""
    macs_superb: int
    """The number that SUPERB's official profiler prints. Compare this one with SUPERB's leaderboard."""
    buckets: dict[str, int]
    """``macs_superb`` of each bucket of 8 utterances: ``short``, ``medium``, ``long`` and ``longer``."""


def kept_units(config: UpstreamConfig) -> dict[str, list[int]]:
    """Return the number of units of each kind in `UNITS` by layer. A present block counts as 1."""
    return {
        "conv": [layer.channels for layer in config.conv_layers],
        "head": [len(layer.heads) for layer in config.layers],
        "interm": [layer.feed_forward for layer in config.layers],
        "attlayer": [int(bool(layer.heads)) for layer in config.layers],
        "ffnlayer": [int(bool(layer.feed_forward)) for layer in config.layers],
    }


def count_parameters(config: UpstreamConfig) -> int:
    """Count the trainable parameters of `model.UpstreamModel`."""
    return count_dphubert_parameters(config) - config.conv_layers[-1].channels


def count_dphubert_parameters(config: UpstreamConfig) -> int:
    """Count as DPHuBERT does, including the scale of the last convolution's channels, its ``dummy_weight``."""
    units = kept_units(config)
    gateable = gateable_parameters(config, units)
    bias = position_bias_parameters(config, units["attlayer"], _position_embeddings(config))
    return int(gateable + bias) + low_rank_weights(config)


def low_rank_weights(config: UpstreamConfig) -> int:
    """Return the weights of low-rank layers minus those of the dense layers that they replace: zero or negative.

    The MACs per frame change by the same number. int8 changes neither count.
    """
    more = 0
    for path, reduced in config.reduced_linears:
        inputs, outputs = config.linear_sizes[path]
        if reduced.rank is not None:
            more += reduced.rank * (inputs + outputs) - inputs * outputs
    return more


def gateable_parameters(config: UpstreamConfig, units: Units) -> Tensor:
    """Count parameters with ``units`` in place of ``config``'s own, without WavLM's position bias, all layers dense.

    Args:
        config: shape of everything except the number of units.
        units: as returned by `kept_units`, or their expected values. Differentiable.

    Source: the counting of DPHuBERT's reference implementation.
    """
    dim, layers = config.dim, config.conv_layers
    channels, inputs = _channels(units)
    kernels = constants_like(channels, [layer.kernel for layer in layers])
    norms = constants_like(
        channels, [config.extractor_norm == "layer_norm" or index == 0 for index in range(len(layers))]
    )
    total = ((inputs * kernels + config.conv_bias + 2 * norms) * channels).sum()
    total = total + channels[-1] * (1 + 2 * config.projection_layer_norm + dim) + dim
    total = total + dim * (dim // config.positional_groups) * config.positional_kernel
    total = total + config.positional_kernel + dim + 2 * dim  # Weight norm's magnitudes, bias, LayerNorm.
    heads, feed_forward, attention_blocks, feed_forward_blocks = _transformer(units)
    width = config.head_dim * heads
    attention = (dim + 1) * 3 * width + (width + 1) * dim
    feed_forward = (dim + 1) * feed_forward + (feed_forward + 1) * dim
    layer_norms = 2 * 2 * dim * config.num_layers
    return total + (attention * attention_blocks + feed_forward * feed_forward_blocks).sum() + layer_norms


def constants_like(tensor: Tensor, values: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """Return values as a tensor (values,) on a tensor's device, which is the same at every call.

    A new tensor at every training step would be a new copy to a GPU, which the host waits for.

    Args:
        tensor: names the device and the type.
        values: read by the result; nobody may change it.
        dtype: default: the tensor's.
    """
    return _constants(tuple(values), dtype or tensor.dtype, tensor.device)


@lru_cache(maxsize=256)
def _constants(values: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=dtype, device=device)


def _vector(counts: Sequence[int] | Tensor) -> Tensor:
    return counts if isinstance(counts, Tensor) else torch.tensor(counts, dtype=torch.long, device="cpu")


def _channels(units: Units) -> tuple[Tensor, Tensor]:
    """Return the output and the input channels of every convolution, (convolutions,) each."""
    channels = _vector(units["conv"])
    return channels, torch.cat([channels.new_ones(1), channels[:-1]])


def _transformer(units: Units) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return heads, feed-forward units, attention blocks and feed-forward blocks, (layers,) each."""
    return _vector(units["head"]), _vector(units["interm"]), _vector(units["attlayer"]), _vector(units["ffnlayer"])


def position_bias_parameters(
    config: UpstreamConfig, attention_blocks: Sequence[int] | Tensor, embeddings: Count
) -> Count:
    """Count WavLM's additional parameters: one bias per bucket and head, and a gate in each layer with attention.

    Args:
        config: shape of the model, apart from which attention blocks and embeddings it has.
        attention_blocks: for each layer, 1 with attention, 0 without, or the probability of having it.
        embeddings: 1 if the model has the biases, 0 if not, or the probability of having them.
    """
    if config.relative_position is None:
        return 0
    embedding = config.relative_position.num_buckets * config.total_heads
    gate = (config.dim // config.total_heads + 1) * WAVLM_GATE_WIDTH + config.total_heads
    return embedding * embeddings + gate * _vector(attention_blocks).sum()


def count_macs(config: UpstreamConfig, num_samples: int) -> int:
    """Count the MACs of matrix products and convolutions for one utterance (the plain count).

    Norms, activations, additions, softmax and biases are free, as in SUPERB's profiler. An int8 product counts as
    much as a floating-point one.
    """
    return _count_macs(config, [num_samples])


def macs_of_units(
    config: UpstreamConfig,
    units: Units,
    embeddings: Count,
    lengths: Sequence[int] = ALL_SUPERB_LENGTHS,
) -> Tensor:
    """Count MACs like `count_macs`, with ``units`` in place of ``config``'s own. All linear layers are dense.

    Args:
        config: shape of everything except the number of units.
        units: as returned by `kept_units`, or their expected values. Differentiable.
        embeddings: see `position_bias_parameters`.
        lengths: samples of each utterance. Returns the sum over all of them.
    """
    channels, inputs = _channels(units)
    frames, multiplied = list(lengths), []
    for conv in config.conv_layers:
        frames = [max((count - conv.kernel) // conv.stride + 1, 0) for count in frames]
        multiplied.append(sum(frames) * conv.kernel)
    num_frames, num_scores = sum(frames), sum(count**2 for count in frames)
    macs = (constants_like(channels, multiplied) * inputs * channels).sum() + num_frames * config.dim * channels[-1]
    # An even kernel computes one frame too many per utterance, which is then cut off.
    positional_frames = num_frames + len(frames) * ((config.positional_kernel + 1) % 2)
    macs = macs + positional_frames * config.dim * (config.dim // config.positional_groups) * config.positional_kernel
    bias_gate = num_frames * config.dim * WAVLM_GATE_WIDTH * embeddings
    heads, feed_forward, attention_blocks, feed_forward_blocks = _transformer(units)
    attention = (4 * num_frames * config.dim + 2 * num_scores) * config.head_dim * heads + bias_gate
    feed_forward = 2 * num_frames * config.dim * feed_forward
    return macs + (attention * attention_blocks + feed_forward * feed_forward_blocks).sum()


def count_superb_macs(config: UpstreamConfig) -> int:
    """Count MACs over SUPERB's 32 utterances (the plain count)."""
    return _count_macs(config, ALL_SUPERB_LENGTHS)


def _count_macs(config: UpstreamConfig, lengths: Sequence[int]) -> int:
    dense = macs_of_units(config, kept_units(config), _position_embeddings(config), lengths)
    return int(dense) + low_rank_weights(config) * sum(config.num_frames(length) for length in lengths)


def superb_macs(config: UpstreamConfig) -> SuperbMacs:
    """Count MACs over SUPERB's 32 utterances, by the plain count and by that of its official profiler.

    For fused attention, the profiler adds ``4 * frames * dim + 4 * heads * frames ** 2`` operations to its matrix
    products. Without attention dropout, the second 4 is a 3. The published pre-norm models
    (Large) were trained without dropout, the post-norm ones (Base) with it, so the norm decides here.
    ``config.dropout`` does not decide, because checkpoint formats disagree on it. A pruned model is counted by the
    same rule, with its kept heads and attention blocks, as if attention were fused.

    Source: the profiler named at `SUPERB_LENGTHS`; fairseq's pre-training recipes for the dropout.
    """
    plain = count_superb_macs(config)
    buckets = {
        bucket: sum(count_macs(config, length) + _profiler_extras(config, length) for length in lengths)
        for bucket, lengths in SUPERB_LENGTHS.items()
    }
    return SuperbMacs(macs=plain, macs_superb=sum(buckets.values()), buckets=buckets)


def _profiler_extras(config: UpstreamConfig, num_samples: int) -> int:
    frames = config.num_frames(num_samples)
    per_score = 3 if config.layer_norm_first else 4
    return sum(
        4 * frames * config.dim + per_score * len(layer.heads) * frames**2 for layer in config.layers if layer.heads
    )


def _position_embeddings(config: UpstreamConfig) -> int:
    return int(config.relative_position is not None and config.relative_position.has_embedding)
