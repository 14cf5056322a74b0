"""Costs that follow from a model's shape: parameters by part, bytes, MACs. No weight is allocated.

`bench.upstream.cost` counts the MACs.
"""

from __future__ import annotations

import torch
from torch import nn

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Settings
from bench.profiling.measured_macs import measured_macs
from bench.profiling.models import model_shape
from bench.upstream import UpstreamConfig, UpstreamModel, load_upstream
from bench.upstream.conversion.keys import CHANNEL_SCALE
from bench.upstream.cost import ALL_SUPERB_LENGTHS, superb_macs
from bench.upstream.fbank import superb_fbank_macs
from bench.upstream.onnx_file import is_onnx, read_onnx
from bench.upstream.reference_names import FBANK, spelled_name

PARTS = ("extractor", "attention", "feed_forward", "rest")
SUPERB_DURATION_S = sum(ALL_SUPERB_LENGTHS) / SAMPLE_RATE_HZ


class Counts(Settings):
    """The cost of one model, counted."""

    model: str
    """Reference, or in a run's folder the name of the weights."""
    params: int
    """All weights, including the fixed scale of the last convolution's channels: DPHuBERT's count."""
    params_trainable: int
    """Without that scale; the leaderboard's ``params``. int8 weights count, their scales do not."""
    params_by_part: dict[str, int]
    """``params`` by `PARTS`: the convolutional extractor; attention, with WavLM's position bias; feed-forward blocks;
    the rest, which is projection, positional convolution and LayerNorms."""
    size_bytes: int
    """Size of the weights as stored by the suite: float32, except int8 layers. Of an ONNX file, its size."""
    macs: int
    """Plain count over SUPERB's 32 utterances."""
    macs_superb: int | None
    """The output of SUPERB's official profiler for the same utterances; None for plug-ins."""
    macs_buckets: dict[str, int]
    """``macs_superb`` by bucket: ``short``, ``medium``, ``long`` and ``longer``; empty for plug-ins."""
    macs_per_audio_s: float
    """``macs`` per second of audio in SUPERB's 32 utterances."""


def count(reference: str, name: str | None = None) -> Counts:
    """Count the cost of a model.

    Args:
        reference: the model, or an ONNX file.
        name: its name; the reference by default.

    Raises:
        UserError: no such model.
    """
    config = model_shape(reference)
    if config is None and spelled_name(reference) != FBANK:
        return _count_plugin(load_upstream(reference), name or reference)
    parts = dict.fromkeys(PARTS, 0)
    num_trainable, size_bytes = 0, 0
    if config is not None:
        model = meta_model(config)
        parameters = dict(model.named_parameters())
        num_trainable = sum(parameter.numel() for parameter in parameters.values())
        for key, tensor in (parameters | {CHANNEL_SCALE: model.feature_extractor.channel_scale}).items():
            parts[_part(key)] += tensor.numel()
        size_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    if is_onnx(reference):
        size_bytes = read_onnx(reference).num_bytes
    macs = superb_fbank_macs() if config is None else superb_macs(config)
    return Counts(
        model=name or reference,
        params=sum(parts.values()),
        params_trainable=num_trainable,
        params_by_part=parts,
        size_bytes=size_bytes,
        macs=macs.macs,
        macs_superb=macs.macs_superb,
        macs_buckets=macs.buckets,
        macs_per_audio_s=macs.macs / SUPERB_DURATION_S,
    )


def _count_plugin(upstream: nn.Module, name: str) -> Counts:
    params = sum(parameter.numel() for parameter in upstream.parameters())
    macs = measured_macs(upstream)
    return Counts(
        model=name,
        params=params,
        params_trainable=params,
        params_by_part={**dict.fromkeys(PARTS, 0), "rest": params},
        size_bytes=sum(tensor.nbytes for tensor in upstream.state_dict().values()),
        macs=macs,
        macs_superb=None,
        macs_buckets={},
        macs_per_audio_s=macs / SUPERB_DURATION_S,
    )


def meta_model(config: UpstreamConfig) -> UpstreamModel:
    """Build a model with shapes but without weights, in evaluation mode."""
    with torch.device("meta"):
        return UpstreamModel(config).eval()


def _part(key: str) -> str:
    if key.startswith("feature_extractor."):
        return "extractor"
    if ".attention." in key or key.startswith("position_bias."):
        return "attention"
    return "feed_forward" if ".feed_forward." in key else "rest"
