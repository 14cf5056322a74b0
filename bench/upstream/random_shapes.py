"""Published shapes with random weights: for cost figures without a download, and as untrained baselines."""

from __future__ import annotations

import math

import torch
from torch import nn

from bench.upstream.config import DropoutRates, UpstreamConfig, uniform_config
from bench.upstream.initialisation import uninitialised
from bench.upstream.model import UpstreamModel

_NO_DROPOUT = DropoutRates(projection=0.0, attention=0.0, feed_forward=0.0, hidden=0.0)

SHAPES: dict[str, UpstreamConfig] = {
    "hubert_base": uniform_config("hubert", 768, 12, 12, 3072),
    "hubert_large": uniform_config("hubert", 1024, 24, 16, 4096, large=True, conv_bias=False, dropout=_NO_DROPOUT),
    "wav2vec2_base": uniform_config("wav2vec2", 768, 12, 12, 3072),
    "wav2vec2_large": uniform_config("wav2vec2", 1024, 24, 16, 4096, large=True, dropout=DropoutRates(hidden=0.0)),
    "wavlm_base_plus": uniform_config("wavlm", 768, 12, 12, 3072),
    "wavlm_large": uniform_config("wavlm", 1024, 24, 16, 4096, large=True, conv_bias=False),
    "distilhubert": uniform_config("hubert", 768, 2, 12, 3072, projection_layer_norm=False),
    "mini-hubert": uniform_config(
        "hubert", 128, 12, 4, 512, conv_channels=48, positional_kernel=32, dropout=_NO_DROPOUT
    ),
}
"""Shapes and dropout of the published models, by the name after ``random:``.

Source: the parameters of torchaudio's bundles; DistilHuBERT (arXiv 2110.01900) section 3. ``mini-hubert`` is our own.
"""

SEED = 0


def random_model(config: UpstreamConfig, seed: int = SEED) -> UpstreamModel:
    """Build a model with random weights in evaluation mode. The same seed gives the same weights.

    The caller's random state is not changed.

    Source: initialisation of wav2vec 2.0's original implementation: convolutions by Kaiming's normal distribution,
    linear layers by N(0, 0.02), biases zero, the positional convolution by its fan-in.
    """
    model = uninitialised(config)
    generator = torch.Generator().manual_seed(seed)
    positional = model.positional_convolution.conv
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
        elif isinstance(module, nn.Conv1d) and module is not positional:
            nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            nn.init.ones_(module.weight)
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.LayerNorm, nn.GroupNorm)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    std = 2 / math.sqrt(config.positional_kernel * config.dim)
    with torch.no_grad():
        # Assigning goes through the weight norm, which splits the weight into direction and length.
        positional.weight = torch.empty_like(positional.weight).normal_(std=std, generator=generator)
    return model.eval()
