"""Small upstreams whose layers differ in every way that compressors can make them differ."""

from __future__ import annotations

import torch

from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import (
    Architecture,
    ReducedLinear,
    RelativePosition,
    TransformerLayerShape,
    uniform_config,
)
from bench.upstream.random_shapes import random_model

SAMPLES = 6000
LENGTHS = torch.tensor([SAMPLES, 4321])


def small_config(architecture: Architecture, *, large: bool = False, **changes: object) -> UpstreamConfig:
    """Return an unpruned shape. Every convolution has another width."""
    if architecture == "wavlm":
        changes = {"relative_position": RelativePosition(num_buckets=32, max_distance=40)} | changes
    fields = {"positional_kernel": 16, "positional_groups": 4, "large": large} | changes
    return uniform_config(architecture, 32, 4, 4, 48, [8, 9, 10, 11, 12, 13, 14], **fields)


def pruned_shape(config: UpstreamConfig) -> UpstreamConfig:
    """Take heads and units away. Layer 1 loses its attention, and layer 2 its feed-forward block."""
    sizes = [((0, 2), 20), ((), 48), ((1,), 0), ((0, 1, 2, 3), 7)]
    layers = tuple(TransformerLayerShape(heads=heads, feed_forward=units) for heads, units in sizes)
    return config.model_copy(update={"layers": layers})


def low_rank_shape(config: UpstreamConfig) -> UpstreamConfig:
    """Factorise some linear layers."""
    return config.with_reduced_linears(
        {
            "layers.1.attention.q_proj": ReducedLinear(rank=3),
            "layers.0.feed_forward.output_dense": ReducedLinear(rank=2),
            "feature_projection.projection": ReducedLinear(rank=5),
        }
    )


def perturbed_model(config: UpstreamConfig, *, scale: float = 1.1) -> UpstreamModel:
    """Build a model in which every weight matters: fresh models have ones and zeros that hide a swap.

    Args:
        config: any float32 shape.
        scale: of the last convolution's channels; 1 in all models but pruned ones.
    """
    model = random_model(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        model.feature_extractor.channel_scale.fill_(scale)
    return model


def padded_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Return two utterances (2, SAMPLES), zero-padded, and the mask of their valid samples."""
    waveforms = torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(SAMPLES) < LENGTHS[:, None]
    return waveforms * mask, mask.long()
