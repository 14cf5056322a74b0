"""``.pth`` files as DPHuBERT's authors publish them.

Source: the file format of DPHuBERT's reference implementation (arXiv 2305.17651).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from torch import Tensor

from bench.errors import UserError
from bench.exports.names import renamed
from bench.exports.options import ExportOptions
from bench.exports.subject import Subject
from bench.files.atomic import writing
from bench.text import shortened
from bench.upstream import UpstreamConfig
from bench.upstream.conversion import PROJECTIONS, read_distillation_projections
from bench.upstream.conversion.files import read_safetensors
from bench.upstream.conversion.keys import CHANNEL_SCALE

_LAYER_NORM_EPS = 1e-5
"""The only epsilon that their code knows."""
_GROUPS = TypeAdapter(list[list[int]])
"""Layers that share a projection, as a projections file stores them."""


def write(subject: Subject, destination: Path, options: ExportOptions) -> None:  # noqa: ARG001 - the signature of a target
    """Write the checkpoint.

    Raises:
        UserError: the model has something that their code cannot build, or its projections are damaged.
    """
    _require_expressible(subject)
    content = {
        "state_dict": _state(subject.model.state_dict()),
        "config": _config(subject.model.config),
        "distill_linear_projs": _projections(subject),
    }
    with writing(destination) as file:
        torch.save(content, file)


def _require_expressible(subject: Subject) -> None:
    config = subject.model.config
    relative = config.relative_position
    for cannot, what in (
        (config.reduced_linears, "low-rank layers"),
        (not config.projection_layer_norm, "a feature projection without LayerNorm"),
        (config.layer_norm_eps != _LAYER_NORM_EPS, f"a LayerNorm epsilon other than {_LAYER_NORM_EPS}"),
        (not config.layers, "no transformer layers"),
        (
            relative is not None and config.head_dim * config.total_heads != config.dim,
            "heads of a WavLM of another width than its share of dim",
        ),
        (
            relative is not None and config.layers and relative.has_embedding != bool(config.layers[0].heads),
            "a position bias without attention in layer 0, or the reverse",
        ),
    ):
        if cannot:
            raise UserError(
                f"DPHuBERT's code cannot build {what}. {shortened(subject.reference, 120)} has that. Export it --to hf."
            )


def _state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights, in the order of their modules."""
    state = renamed(weights, transformer="encoder.transformer.", others="encoder.")
    state["feature_extractor.dummy_weight"] = state.pop(CHANNEL_SCALE)
    positional = "encoder.transformer.pos_conv_embed.conv."
    for theirs, ours in (("weight_g", "original0"), ("weight_v", "original1")):
        state[positional + theirs] = state.pop(f"{positional}parametrizations.weight.{ours}")
    return state


def _config(config: UpstreamConfig) -> dict[str, Any]:
    """Describe the shape by the keyword arguments of their ``wav2vec2_model``."""
    layers = config.layers
    relative = config.relative_position
    if relative is None:
        heads: dict[str, Any] = {
            "encoder_num_heads": [len(layer.heads) for layer in layers],
            "encoder_head_dim": config.head_dim,
        }
    else:
        heads = {
            "encoder_total_num_heads": [config.total_heads] * len(layers),
            "encoder_remaining_heads": [list(layer.heads) for layer in layers],
            "encoder_num_buckets": relative.num_buckets,
            "encoder_max_distance": relative.max_distance,
        }
    return {
        "extractor_mode": config.extractor_norm,
        "extractor_conv_layer_config": [(layer.channels, layer.kernel, layer.stride) for layer in config.conv_layers],
        "extractor_conv_bias": config.conv_bias,
        "encoder_embed_dim": config.dim,
        "encoder_projection_dropout": config.dropout.projection,
        "encoder_pos_conv_kernel": config.positional_kernel,
        "encoder_pos_conv_groups": config.positional_groups,
        "encoder_num_layers": len(layers),
        "encoder_use_attention": [bool(layer.heads) for layer in layers],
        "encoder_use_feed_forward": [layer.feed_forward > 0 for layer in layers],
        **heads,
        "encoder_attention_dropout": config.dropout.attention,
        "encoder_ff_interm_features": [layer.feed_forward for layer in layers],
        "encoder_ff_interm_dropout": config.dropout.feed_forward,
        "encoder_dropout": config.dropout.hidden,
        "encoder_layer_norm_first": config.layer_norm_first,
        "encoder_layer_drop": config.dropout.layer,
        "aux_num_out": None,
        "normalize_waveform": config.normalize_waveform,
        "extractor_prune_conv_channels": False,
        "encoder_prune_attention_heads": False,
        "encoder_prune_attention_layer": False,
        "encoder_prune_feed_forward_intermediate": False,
        "encoder_prune_feed_forward_layer": False,
    }


def _projections(subject: Subject) -> dict[str, Tensor]:
    """Return the projections, one per distilled layer. Empty if none are known."""
    if subject.path.is_file():
        return read_distillation_projections(subject.path)
    file = subject.path / PROJECTIONS
    if not file.is_file():
        return {}
    weights = read_safetensors(file)
    with safe_open(file, "pt") as opened:
        groups = (opened.metadata() or {}).get("layers")
    return weights if groups is None else _per_layer(weights, groups, file)


def _per_layer(weights: Mapping[str, Tensor], groups: str, file: Path) -> dict[str, Tensor]:
    """Repeat the projection of each group of layers for each of its layers, as their files do."""
    try:
        owners = [index for index, group in enumerate(_GROUPS.validate_json(groups)) for _ in group]
        parts = [(layer, group, part) for layer, group in enumerate(owners) for part in ("weight", "bias")]
        return {f"{layer}.{part}": weights[f"{group}.{part}"] for layer, group, part in parts}
    except (ValidationError, KeyError) as error:
        raise UserError(
            f"Expected a projection per group of layers in {shortened(str(file), 160)}. Found {shortened(groups, 50)} "
            f"and {len(weights)} weights. Copy the file again, or delete it to export without projections."
        ) from error
