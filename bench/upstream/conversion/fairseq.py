"""fairseq's HuBERT and wav2vec 2.0, s3prl's converted checkpoints, and Microsoft's WavLM.

s3prl and WavLM took over fairseq's modules and the names of its settings. Only the layout of the file differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from torch import ones

from bench.upstream.config import (
    MAX_CONV_LAYERS,
    Architecture,
    ConvLayerShape,
    Distance,
    DropoutRates,
    Flag,
    Kernel,
    NumBuckets,
    NumHeads,
    NumLayers,
    Probability,
    TransformerLayerShape,
    UpstreamConfig,
    Width,
)
from bench.upstream.conversion.files import only_tensors, validated
from bench.upstream.conversion.keys import CHANNEL_SCALE, FAIRSEQ
from bench.upstream.conversion.weights import Checkpoint

_LONGEST_EXPRESSION = 1000
_LAYER = r"\((\d{1,6}),(\d{1,6}),(\d{1,6})\),?"
_TERM = rf"\[((?:{_LAYER})+)\](?:\*(\d{{1,2}}))?"


def _conv_layers(expression: object) -> list[tuple[int, ...]]:
    """Read Python's expression for a list of (channels, kernel, stride): lists that are repeated and added.

    Raises:
        ValueError: any other expression.
    """
    if not isinstance(expression, str) or len(expression) > _LONGEST_EXPRESSION:
        raise ValueError("conv_feature_layers is not a short text")
    text = re.sub(r"\s", "", expression)
    if not re.fullmatch(rf"{_TERM}(?:\+{_TERM})*", text):
        raise ValueError("conv_feature_layers is not a sum of lists of (channels, kernel, stride)")
    layers: list[tuple[int, ...]] = []
    for term in re.finditer(_TERM, text):
        once = [tuple(map(int, layer)) for layer in re.findall(_LAYER, term.group(1))]
        layers += once * int(term.group(5) or 1)
    return layers


class _Config(BaseModel):
    """The settings that determine the network, with fairseq's names and defaults."""

    model_config = ConfigDict(extra="ignore")

    extractor_mode: Literal["default", "layer_norm"] = "default"
    conv_feature_layers: Annotated[
        tuple[tuple[Width, Kernel, Kernel], ...],
        BeforeValidator(_conv_layers),
        Field(min_length=1, max_length=MAX_CONV_LAYERS, validate_default=True),
    ] = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"  # type: ignore[assignment]
    conv_bias: Flag = False
    encoder_layers: NumLayers = 12
    encoder_embed_dim: Width = 768
    encoder_ffn_embed_dim: Width = 3072
    encoder_attention_heads: NumHeads = 12
    activation_fn: Literal["gelu"] = "gelu"
    layer_type: Literal["transformer"] = "transformer"
    layer_norm_first: Flag = False
    conv_pos: Kernel = 128
    conv_pos_groups: Width = 16
    pos_conv_depth: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    quantize_input: Literal[False] = False
    dropout_input: Probability = 0.0
    attention_dropout: Probability = 0.1
    activation_dropout: Probability = 0.0
    dropout: Probability = 0.1
    relative_position_embedding: Flag = False
    gru_rel_pos: Flag = False
    num_buckets: NumBuckets = 320
    max_distance: Distance = 1280

    @model_validator(mode="after")
    def _consistent(self) -> _Config:
        if self.encoder_embed_dim % self.encoder_attention_heads:
            raise ValueError(f"encoder_embed_dim is no multiple of {self.encoder_attention_heads} attention heads")
        if self.relative_position_embedding != self.gru_rel_pos:
            raise ValueError("relative_position_embedding and gru_rel_pos differ")
        return self

    def shape(self, *, architecture: Architecture, normalize_waveform: object) -> dict[str, object]:
        """Describe the same network as fields of `UpstreamConfig`."""
        layer = TransformerLayerShape(
            heads=tuple(range(self.encoder_attention_heads)), feed_forward=self.encoder_ffn_embed_dim
        )
        is_wavlm = self.relative_position_embedding
        return {
            "architecture": "wavlm" if is_wavlm else architecture,
            "extractor_norm": "group_norm" if self.extractor_mode == "default" else "layer_norm",
            "conv_layers": tuple(
                ConvLayerShape(channels=channels, kernel=kernel, stride=stride)
                for channels, kernel, stride in self.conv_feature_layers
            ),
            "conv_bias": self.conv_bias,
            "dim": self.encoder_embed_dim,
            "positional_kernel": self.conv_pos,
            "positional_groups": self.conv_pos_groups,
            "layer_norm_first": self.layer_norm_first,
            "total_heads": self.encoder_attention_heads,
            "head_dim": self.encoder_embed_dim // self.encoder_attention_heads,
            "layers": (layer,) * self.encoder_layers,
            "relative_position": {"num_buckets": self.num_buckets, "max_distance": self.max_distance}
            if is_wavlm
            else None,
            "normalize_waveform": normalize_waveform,
            "dropout": DropoutRates(
                projection=self.dropout_input,
                attention=self.attention_dropout,
                feed_forward=self.activation_dropout,
                hidden=self.dropout,
            ),
        }


def is_s3prl(content: Mapping[str, Any]) -> bool:
    """Return whether s3prl converted this checkpoint from fairseq's."""
    return all(isinstance(content.get(key), Mapping) for key in ("model_cfg", "task_cfg", "model_weight"))


def is_wavlm(content: Mapping[str, Any]) -> bool:
    """Return whether this is a checkpoint of Microsoft's WavLM."""
    settings = content.get("cfg")
    return isinstance(content.get("model"), Mapping) and isinstance(settings, Mapping) and "encoder_layers" in settings


def is_fairseq(content: Mapping[str, Any]) -> bool:
    """Return whether this is a checkpoint of fairseq whose settings are plain values."""
    settings = content.get("cfg")
    return (
        isinstance(content.get("model"), Mapping)
        and isinstance(settings, Mapping)
        and isinstance(settings.get("model"), Mapping)
    )


def read_s3prl(content: Mapping[str, Any], path: Path) -> Checkpoint:
    """Read ``{task_cfg, model_cfg, model_weight}``.

    Raises:
        UserError: another architecture or option, or weights of another shape.
    """
    return _checkpoint(content["model_weight"], content["model_cfg"], content["task_cfg"], path)


def read_wavlm(content: Mapping[str, Any], path: Path) -> Checkpoint:
    """Read ``{cfg, model}`` with all settings in ``cfg``.

    Raises:
        UserError: see `read_s3prl`.
    """
    return _checkpoint(content["model"], content["cfg"], content["cfg"], path)


def read_fairseq(content: Mapping[str, Any], path: Path) -> Checkpoint:
    """Read ``{cfg, model}`` with the settings of the model and of its task as entries of ``cfg``.

    Raises:
        UserError: see `read_s3prl`.
    """
    settings = content["cfg"]
    # A model that was fine-tuned for speech recognition keeps the settings of the pretrained one.
    inner = settings["model"].get("w2v_args")
    if isinstance(inner, Mapping) and isinstance(inner.get("model"), Mapping):
        settings = inner
    task = settings.get("task")
    return _checkpoint(content["model"], settings["model"], task if isinstance(task, Mapping) else {}, path)


def _checkpoint(weights: object, settings: Mapping[str, Any], task: Mapping[str, Any], path: Path) -> Checkpoint:
    named = only_tensors(weights, path)
    config = validated(_Config, dict(settings), f"the settings in {path}")
    architecture: Architecture = "wav2vec2" if any("quantizer." in key for key in named) else "hubert"
    shape = config.shape(architecture=architecture, normalize_waveform=task.get("normalize", False))
    renamed = FAIRSEQ.apply(named, path)
    renamed[CHANNEL_SCALE] = ones(config.conv_feature_layers[-1][0])
    return Checkpoint(validated(UpstreamConfig, shape, path), renamed, str(path))
