"""DPHuBERT's checkpoints: published ``.pth`` files, and Lightning's ``.ckpt`` files that still contain the gates.

Source: the file format of DPHuBERT's reference implementation (arXiv 2305.17651).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, ones

from bench.upstream.config import (
    MAX_CONV_LAYERS,
    MAX_HEADS,
    MAX_LAYERS,
    ConvLayerShape,
    Distance,
    DropoutRates,
    Flag,
    Heads,
    Kernel,
    NumBuckets,
    NumHeads,
    NumLayers,
    Probability,
    TransformerLayerShape,
    UpstreamConfig,
    UpToWidth,
    Width,
)
from bench.upstream.conversion.files import only_tensors, read_torch, require_finite, validated
from bench.upstream.conversion.keys import CHANNEL_SCALE, TORCHAUDIO
from bench.upstream.conversion.unreadable import is_safetensors
from bench.upstream.conversion.weights import Checkpoint

PROJECTIONS = "distillation_projections.safetensors"
"""File of a suite folder with the linear layers between student and teacher."""

_PER_LAYER = Field(max_length=MAX_LAYERS)
_STUDENT = "student_model."
_PROJECTIONS = "distill_linear_projs."
_LAYER = r"encoder\.transformer\.layers\.(\d+)\."
_GATES = (
    (r"feature_extractor\.conv_layers\.(\d+)\.hard_concrete\.log_alpha", "conv"),
    (_LAYER + r"attention\.hard_concrete_for_heads\.log_alpha", "head"),
    (_LAYER + r"attention\.hard_concrete_for_layer\.log_alpha", "attlayer"),
    (_LAYER + r"feed_forward\.hard_concrete_for_intermediate\.log_alpha", "interm"),
    (_LAYER + r"feed_forward\.hard_concrete_for_layer\.log_alpha", "ffnlayer"),
)


class _Config(BaseModel):
    """The keyword arguments of the reference implementation's ``wav2vec2_model``."""

    model_config = ConfigDict(extra="ignore")

    extractor_mode: Literal["group_norm", "layer_norm"]
    extractor_conv_layer_config: Annotated[
        tuple[tuple[Width, Kernel, Kernel], ...], Field(min_length=1, max_length=MAX_CONV_LAYERS)
    ]
    extractor_conv_bias: Flag
    encoder_embed_dim: Width
    encoder_projection_dropout: Probability
    encoder_pos_conv_kernel: Kernel
    encoder_pos_conv_groups: Width
    encoder_num_layers: NumLayers
    encoder_use_attention: Annotated[tuple[Flag, ...], _PER_LAYER]
    encoder_use_feed_forward: Annotated[tuple[Flag, ...], _PER_LAYER]
    encoder_attention_dropout: Probability
    encoder_ff_interm_features: Annotated[tuple[UpToWidth, ...], _PER_LAYER]
    encoder_ff_interm_dropout: Probability
    encoder_dropout: Probability
    encoder_layer_norm_first: Flag
    normalize_waveform: Flag
    # HuBERT and wav2vec 2.0:
    encoder_num_heads: Annotated[tuple[Annotated[int, Field(strict=True, ge=0, le=MAX_HEADS)], ...], _PER_LAYER] = ()
    encoder_head_dim: Width | None = None
    # WavLM:
    encoder_total_num_heads: Annotated[tuple[NumHeads, ...], _PER_LAYER] = ()
    encoder_remaining_heads: Annotated[tuple[Heads, ...], _PER_LAYER] | None = None
    encoder_num_buckets: NumBuckets = 320
    encoder_max_distance: Distance = 800

    @model_validator(mode="after")
    def _consistent(self) -> _Config:
        per_layer: list[Sequence[object]] = [
            self.encoder_use_attention,
            self.encoder_use_feed_forward,
            self.encoder_ff_interm_features,
        ]
        if self.encoder_remaining_heads is None:
            per_layer.append(self.encoder_num_heads)
            if not self.encoder_head_dim:
                raise ValueError("encoder_head_dim is missing")
        else:
            per_layer += [self.encoder_remaining_heads, self.encoder_total_num_heads]
            if len(set(self.encoder_total_num_heads)) != 1:
                raise ValueError("encoder_total_num_heads differs between layers")
        if any(len(values) != self.encoder_num_layers for values in per_layer):
            raise ValueError(
                f"a list does not have one entry for each of {self.encoder_num_layers} layers (encoder_num_layers)"
            )
        return self

    def shape(self) -> dict[str, object]:
        """Describe the same network as fields of `UpstreamConfig`."""
        is_wavlm = self.encoder_remaining_heads is not None
        heads = self._heads()
        total_heads = self._total_heads()
        # A removed block keeps the count of its other gate, so the count alone does not show that it is gone.
        layers = tuple(
            TransformerLayerShape(
                heads=heads[index] if self.encoder_use_attention[index] else (),
                feed_forward=self.encoder_ff_interm_features[index] if self.encoder_use_feed_forward[index] else 0,
            )
            for index in range(self.encoder_num_layers)
        )
        return {
            "architecture": "wavlm" if is_wavlm else "hubert",
            "extractor_norm": self.extractor_mode,
            "conv_layers": tuple(
                ConvLayerShape(channels=channels, kernel=kernel, stride=stride)
                for channels, kernel, stride in self.extractor_conv_layer_config
            ),
            "conv_bias": self.extractor_conv_bias,
            "dim": self.encoder_embed_dim,
            "positional_kernel": self.encoder_pos_conv_kernel,
            "positional_groups": self.encoder_pos_conv_groups,
            "layer_norm_first": self.encoder_layer_norm_first,
            "total_heads": total_heads,
            "head_dim": self.encoder_head_dim or self.encoder_embed_dim // total_heads,
            "layers": layers,
            "relative_position": {
                "num_buckets": self.encoder_num_buckets,
                "max_distance": self.encoder_max_distance,
                # There, the embedding belongs to layer 0's attention and is removed with it.
                "has_embedding": bool(layers[0].heads),
            }
            if is_wavlm
            else None,
            "normalize_waveform": self.normalize_waveform,
            "dropout": DropoutRates(
                projection=self.encoder_projection_dropout,
                attention=self.encoder_attention_dropout,
                feed_forward=self.encoder_ff_interm_dropout,
                hidden=self.encoder_dropout,
            ),
        }

    def _heads(self) -> tuple[tuple[int, ...], ...]:
        if self.encoder_remaining_heads is not None:
            return self.encoder_remaining_heads
        # These files do not store which heads were kept. Without a position bias it makes no difference.
        return tuple(tuple(range(count)) for count in self.encoder_num_heads)

    def _total_heads(self) -> int:
        if self.encoder_remaining_heads is not None:
            return self.encoder_total_num_heads[0]
        return max(*self.encoder_num_heads, self.encoder_embed_dim // (self.encoder_head_dim or 1))


def is_dphubert(content: Mapping[str, Any]) -> bool:
    """Return whether this is a checkpoint of DPHuBERT."""
    return isinstance(content.get("state_dict"), Mapping) and isinstance(content.get("config"), Mapping)


def read_dphubert(content: Mapping[str, Any], path: Path) -> Checkpoint:
    """Read a checkpoint of DPHuBERT. One with gates (stage 1) keeps them, and `Checkpoint.build` prunes by them.

    The files do not distinguish wav2vec 2.0 from HuBERT. Both are read as ``hubert``, because they share one network.

    Raises:
        UserError: another architecture, or weights of another shape.
    """
    config = validated(_Config, content["config"], f"the 'config' of {path}")
    gates, weights = _gates_apart(_student(only_tensors(content["state_dict"], path)))
    require_finite(gates, path)
    renamed = TORCHAUDIO.apply(weights, path)
    # Checkpoints of models that were never pruned may lack it.
    renamed.setdefault(CHANNEL_SCALE, ones(config.extractor_conv_layer_config[-1][0]))
    return Checkpoint(validated(UpstreamConfig, config.shape(), path), renamed, str(path), gates)


def read_distillation_projections(path: Path) -> dict[str, Tensor]:
    """Read the linear layers between student and teacher that such a checkpoint stores next to the student.

    Returns:
        ``<index>.weight`` (dim, dim) and ``<index>.bias`` (dim,) in float32, with one index per distilled layer. Empty
        if the checkpoint has none.

    Raises:
        UserError: truncated, or a pickle with code in it.
    """
    if is_safetensors(path):
        return {}
    content = read_torch(path)
    found = content.get("distill_linear_projs")
    if not isinstance(found, Mapping):
        state = only_tensors(content.get("state_dict", {}), path)
        found = {key.removeprefix(_PROJECTIONS): value for key, value in state.items() if key.startswith(_PROJECTIONS)}
    projections = {key: value.float() for key, value in only_tensors(found, path).items()}
    require_finite(projections, path)
    return projections


def _student(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Extract the student from Lightning's state, which also holds the teacher, the projections and the multipliers."""
    student = {key.removeprefix(_STUDENT): value for key, value in state.items() if key.startswith(_STUDENT)}
    return student or dict(state)


def _gates_apart(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    gates: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for key, value in state.items():
        match, unit = next(
            ((match, unit) for pattern, unit in _GATES if (match := re.fullmatch(pattern, key))), (None, "")
        )
        if match:
            gates[f"{unit}/{match.group(1)}"] = value.float()
        else:
            weights[key] = value
    return gates, weights
