"""Files of weights without settings: the shape is read from the tensors, as far as they determine it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, ones

from bench.errors import UserError
from bench.upstream.config import (
    BASE_CONV_KERNELS,
    BASE_CONV_STRIDES,
    MAX_CONV_LAYERS,
    Architecture,
    ConvLayerShape,
    TransformerLayerShape,
    UpstreamConfig,
)
from bench.upstream.conversion.files import only_tensors, validated
from bench.upstream.conversion.keys import CHANNEL_SCALE, FAIRSEQ, HUGGING_FACE, SUITE, TORCHAUDIO, KeyMap, listed
from bench.upstream.conversion.torchaudio import with_split_projections
from bench.upstream.conversion.weights import Checkpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Source:
    """A project whose state dicts can be told from others' by the names in them."""

    title: str
    only_here: str
    """Pattern of a key that no later source has."""
    names: KeyMap
    way: str
    """What to do with models of unknown shape."""


_FOLDER = "Put it and its config.json into a folder, as model.safetensors or pytorch_model.bin, and name the folder"
_SOURCES = (
    _Source(
        "DPHuBERT",
        r"feature_extractor\.dummy_weight",
        TORCHAUDIO,
        "Save the weights with its settings, as {'state_dict': weights, 'config': settings}",
    ),
    _Source(
        "fairseq",
        r"(?:w2v_encoder\.)?(?:w2v_model\.)?encoder\.layers\.0\.self_attn\..+",
        FAIRSEQ,
        "Save it with fairseq's settings as plain values: {'cfg': {'model': .., 'task': ..}, 'model': weights}",
    ),
    _Source(
        "torchaudio",
        r"(?:model\.)?encoder\.transformer\.layers\.0\..+",
        TORCHAUDIO,
        "Build the model and convert it in Python, with bench.upstream.conversion.from_torchaudio and save_upstream",
    ),
    _Source("Hugging Face", r"(?:[a-z0-9_]+\.)?encoder\.layers\.0\.attention\..+", HUGGING_FACE, _FOLDER),
    _Source("this suite", r"positional_convolution\..+", SUITE, _FOLDER),
)

_HEADS_OF_WIDTH = {768: 12, 1024: 16, 1280: 16, 1920: 16}
"""Attention heads of the published models by their width. The tensors of HuBERT and wav2vec 2.0 do not show them."""

_DENSE = "layers.{}.feed_forward.intermediate_dense.weight"
_WAV2VEC2 = r"(?:wav2vec2\.|unispeech|quantizer\.|project_q\.).*"


def is_weights_alone(content: Mapping[str, object]) -> bool:
    """Return whether a file holds nothing but tensors of a known source."""
    return all(isinstance(value, Tensor) for value in content.values()) and _source(content) is not None


def read_weights_alone(content: object, path: Path) -> Checkpoint:
    """Read a state dict, of the size of a published model.

    Raises:
        UserError: another model, or the tensors do not determine its shape.
    """
    weights = only_tensors(content, path)
    source = _source(weights)
    if source is None:
        raise UserError(
            f"Expected weights of HuBERT, wav2vec 2.0 or WavLM in {path}. Found {listed(list(weights)) or 'none'}. "
            "Name a checkpoint of one of these models."
        )
    renamed = source.names.apply(with_split_projections(weights), path)
    architecture: Architecture = "wav2vec2" if any(re.match(_WAV2VEC2, key) for key in weights) else "hubert"
    config = _Tensors(renamed, path, source).shape(architecture)
    renamed.setdefault(CHANNEL_SCALE, ones(config.conv_layers[-1].channels))
    logger.warning(
        "%s has weights of %s without settings. It is read as published models of its kind: %d layers, %d heads, "
        "%s-norm, waveforms %s.",
        path,
        source.title,
        config.num_layers,
        config.total_heads,
        "pre" if config.layer_norm_first else "post",
        "normalised" if config.normalize_waveform else "as they are",
    )
    return Checkpoint(config, renamed, str(path))


def _source(keys: Mapping[str, object]) -> _Source | None:
    for source in _SOURCES:
        if any(isinstance(key, str) and re.fullmatch(source.only_here, key) for key in keys):
            return source
    return None


class _Tensors:
    """Named tensors of a model, and what they show of its shape."""

    def __init__(self, weights: Mapping[str, Tensor], where: Path, source: _Source) -> None:
        self.weights = weights
        self.where = where
        self.source = source

    def shape(self, architecture: Architecture) -> UpstreamConfig:
        """Describe the model.

        Raises:
            UserError: a tensor is missing or has another number of dimensions, or the shape stays unknown.
        """
        convolutions = self._convolutions()
        dim, _ = self._size("feature_projection.projection.weight", 2)
        _, group, positional_kernel = self._size("positional_convolution.conv.parametrizations.weight.original1", 3)
        is_wavlm = "position_bias.embedding.weight" in self.weights
        heads = self._heads(dim, is_wavlm=is_wavlm)
        # Published models with a LayerNorm after each convolution are pre-norm and normalise waveforms; others neither.
        is_large = "feature_extractor.conv_layers.1.layer_norm.weight" in self.weights
        return validated(
            UpstreamConfig,
            {
                "architecture": "wavlm" if is_wavlm else architecture,
                "extractor_norm": "layer_norm" if is_large else "group_norm",
                "conv_layers": convolutions,
                "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in self.weights,
                "dim": dim,
                "projection_layer_norm": "feature_projection.layer_norm.weight" in self.weights,
                "positional_kernel": positional_kernel,
                "positional_groups": max(dim // max(group, 1), 1),
                "layer_norm_first": is_large,
                "total_heads": heads,
                "head_dim": dim // heads,
                "layers": self._layers(dim, heads),
                "relative_position": {"num_buckets": self._size("position_bias.embedding.weight", 2)[0]}
                if is_wavlm
                else None,
                "normalize_waveform": is_large,
            },
            self.where,
        )

    def _convolutions(self) -> tuple[ConvLayerShape, ...]:
        count = self._count(r"feature_extractor\.conv_layers\.(\d+)\..+")
        sizes = [
            self._size(f"feature_extractor.conv_layers.{index}.conv.weight", 3)
            for index in range(min(count, MAX_CONV_LAYERS))
        ]
        if tuple(kernel for _, _, kernel in sizes) != BASE_CONV_KERNELS:
            raise self._unknown("the stride of its convolutions")
        return tuple(
            ConvLayerShape(channels=channels, kernel=kernel, stride=stride)
            for (channels, _, kernel), stride in zip(sizes, BASE_CONV_STRIDES, strict=True)
        )

    def _heads(self, dim: int, *, is_wavlm: bool) -> int:
        heads = self._size("position_bias.embedding.weight", 2)[1] if is_wavlm else _HEADS_OF_WIDTH.get(dim, 0)
        if not heads or dim % heads:
            raise self._unknown("the number of attention heads")
        return heads

    def _layers(self, dim: int, heads: int) -> list[TransformerLayerShape]:
        count = self._count(r"layers\.(\d+)\..+")
        layer = {"heads": tuple(range(heads)), "feed_forward": self._size(_DENSE.format(0), 2)[0]}
        for index in range(count):
            name = f"layers.{index}.attention.q_proj.weight"
            if self._size(name, 2)[0] != dim or self._size(_DENSE.format(index), 2)[0] != layer["feed_forward"]:
                raise self._unknown("how it was pruned")
        return [validated(TransformerLayerShape, layer, self.where)] * count

    def _count(self, pattern: str) -> int:
        return len({match.group(1) for key in self.weights if (match := re.fullmatch(pattern, key))})

    def _size(self, key: str, dimensions: int) -> tuple[int, ...]:
        found = self.weights.get(key)
        if found is None:
            raise UserError(f"Expected {key} in {self.where}. Found none. Is the file complete?")
        if found.dim() != dimensions:
            raise UserError(
                f"Expected {key} with {dimensions} dimensions in {self.where}. Found {found.dim()}. Is it another "
                "model's?"
            )
        return tuple(found.shape)

    def _unknown(self, what: str) -> UserError:
        return UserError(
            f"Expected {self.source.title}'s weights in {self.where} to have a published size. Found another, and "
            f"without settings {what} stays unknown. {self.source.way}."
        )
