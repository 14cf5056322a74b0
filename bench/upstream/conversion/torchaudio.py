"""torchaudio's wav2vec 2.0, HuBERT and WavLM: pretrained bundles, and models in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn, ones

from bench.errors import UserError
from bench.upstream.config import (
    ConvLayerShape,
    DropoutRates,
    RelativePosition,
    TransformerLayerShape,
    UpstreamConfig,
)
from bench.upstream.conversion.files import UNREADABLE, first_line
from bench.upstream.conversion.keys import CHANNEL_SCALE, TORCHAUDIO
from bench.upstream.conversion.weights import Checkpoint
from bench.upstream.model import UpstreamModel

BUNDLES = (
    "HUBERT_ASR_LARGE",
    "HUBERT_ASR_XLARGE",
    "HUBERT_BASE",
    "HUBERT_LARGE",
    "HUBERT_XLARGE",
    "MMS_FA",
    "VOXPOPULI_ASR_BASE_10K_DE",
    "VOXPOPULI_ASR_BASE_10K_EN",
    "VOXPOPULI_ASR_BASE_10K_ES",
    "VOXPOPULI_ASR_BASE_10K_FR",
    "VOXPOPULI_ASR_BASE_10K_IT",
    "WAV2VEC2_ASR_BASE_100H",
    "WAV2VEC2_ASR_BASE_10M",
    "WAV2VEC2_ASR_BASE_960H",
    "WAV2VEC2_ASR_LARGE_100H",
    "WAV2VEC2_ASR_LARGE_10M",
    "WAV2VEC2_ASR_LARGE_960H",
    "WAV2VEC2_ASR_LARGE_LV60K_100H",
    "WAV2VEC2_ASR_LARGE_LV60K_10M",
    "WAV2VEC2_ASR_LARGE_LV60K_960H",
    "WAV2VEC2_BASE",
    "WAV2VEC2_LARGE",
    "WAV2VEC2_LARGE_LV60K",
    "WAV2VEC2_XLSR53",
    "WAV2VEC2_XLSR_1B",
    "WAV2VEC2_XLSR_2B",
    "WAV2VEC2_XLSR_300M",
    "WAVLM_BASE",
    "WAVLM_BASE_PLUS",
    "WAVLM_LARGE",
)
"""The bundles of ``torchaudio.pipelines`` that hold a model of this family, with or without an ASR head.

Listed here so that a reference is recognised without importing torchaudio.
"""


def bundle_names() -> tuple[str, ...]:
    """Return the names of the pretrained bundles that `read_bundle` reads."""
    return BUNDLES


def read_bundle(name: str) -> Checkpoint:
    """Download a pretrained bundle, or find it in torch hub's cache.

    Raises:
        UserError: offline and not cached, or the cached file is truncated.
    """
    import torchaudio

    bundle = getattr(torchaudio.pipelines, name)
    try:
        model = bundle.get_model(dl_kwargs={"weights_only": True, "map_location": "cpu"})
    except UNREADABLE as error:
        raise UserError(
            f"Expected the weights of torchaudio's {name} on the network or in torch hub's cache. Found neither whole "
            f"({first_line(error)}). Check the network, delete a torn file, or name a local model."
        ) from error
    architecture: Literal["hubert", "wav2vec2"] = "hubert" if name.startswith("HUBERT") else "wav2vec2"
    # Bundles of Large models wrap the actual model in one that normalises the waveform.
    normalize = bool(getattr(model, "normalize_waveform", False))
    inner = getattr(model, "model", model)
    return _checkpoint(inner, normalize_waveform=normalize, architecture=architecture, where=f"torchaudio's {name}")


def from_torchaudio(
    model: nn.Module, *, normalize_waveform: bool, architecture: Literal["hubert", "wav2vec2"] = "hubert"
) -> UpstreamModel:
    """Convert a ``torchaudio.models.Wav2Vec2Model``. A head (``aux``) is ignored.

    Args:
        model: a model of ``wav2vec2_model``, ``wavlm_model`` or a similar function. It is not changed.
        normalize_waveform: whether the model expects normalised utterances (Large models).
        architecture: the name for the tables. WavLM is recognised by its attention.

    Raises:
        UserError: another kind of model.
    """
    return _checkpoint(
        model, normalize_waveform=normalize_waveform, architecture=architecture, where="torchaudio's model"
    ).build()


def _checkpoint(
    model: nn.Module, *, normalize_waveform: bool, architecture: Literal["hubert", "wav2vec2"], where: str
) -> Checkpoint:
    import torchaudio

    if not isinstance(model, torchaudio.models.Wav2Vec2Model):
        raise UserError(f"Expected a torchaudio.models.Wav2Vec2Model. Found a {type(model).__name__}.")
    config = _shape(model, normalize_waveform=normalize_waveform, architecture=architecture)
    weights = TORCHAUDIO.apply(with_split_projections(model.state_dict()), where)
    weights[CHANNEL_SCALE] = ones(config.conv_layers[-1].channels)
    return Checkpoint(config, weights, where)


def with_split_projections(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split a `nn.MultiheadAttention`'s weights into the query, key and value projections."""
    result: dict[str, Tensor] = {}
    for key, value in weights.items():
        head, separator, kind = key.partition("in_proj_")
        if separator:
            result |= {f"{head}{name}_proj.{kind}": part for name, part in zip("qkv", value.chunk(3), strict=True)}
        else:
            result[key] = value
    return result


def _shape(model: Any, *, normalize_waveform: bool, architecture: Literal["hubert", "wav2vec2"]) -> UpstreamConfig:
    """Derive the shape from the modules, because torchaudio's models keep no configuration."""
    convolutions = model.feature_extractor.conv_layers
    projection = model.encoder.feature_projection
    transformer = model.encoder.transformer
    positional = transformer.pos_conv_embed.conv
    first = transformer.layers[0]
    is_wavlm = hasattr(first.attention, "rel_attn_embed")
    return UpstreamConfig(
        architecture="wavlm" if is_wavlm else architecture,
        extractor_norm="group_norm" if isinstance(convolutions[0].layer_norm, nn.GroupNorm) else "layer_norm",
        conv_layers=tuple(
            ConvLayerShape(channels=layer.conv.out_channels, kernel=layer.kernel_size, stride=layer.stride)
            for layer in convolutions
        ),
        conv_bias=convolutions[0].conv.bias is not None,
        dim=projection.projection.out_features,
        positional_kernel=positional.kernel_size[0],
        positional_groups=positional.groups,
        layer_norm_first=first.layer_norm_first,
        layer_norm_eps=first.layer_norm.eps,
        total_heads=first.attention.num_heads,
        head_dim=first.attention.head_dim,
        layers=tuple(
            TransformerLayerShape(
                heads=tuple(range(layer.attention.num_heads)),
                feed_forward=layer.feed_forward.intermediate_dense.out_features,
            )
            for layer in transformer.layers
        ),
        relative_position=RelativePosition(
            num_buckets=first.attention.num_buckets, max_distance=first.attention.max_distance
        )
        if is_wavlm
        else None,
        normalize_waveform=normalize_waveform,
        dropout=DropoutRates(
            projection=projection.dropout.p,
            attention=first.attention.dropout,
            feed_forward=first.feed_forward.intermediate_dropout.p,
            hidden=first.dropout.p,
        ),
    )
