"""Connects the feature cache to s3prl: features replace the audio, and a stand-in replaces the upstream."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.cache_folder import waveforms_root
from bench.contracts import Context
from tasks.feature_cache.features import DTYPES, Features, Kind
from tasks.feature_cache.loader import AudioLoader, FeatureLoader
from tasks.feature_cache.room import features_root
from tasks.feature_cache.store import FeatureStore
from tasks.feature_cache.waveforms import WaveformIndex

LENGTH_RULE = "s3prl: the last frame repeated up to one frame a stride begun"


class CachedUpstream(nn.Module):
    """An s3prl upstream that unpacks the features of `FeatureLoader`."""

    def __init__(self, upstream: Any) -> None:
        """Copy the shape of an s3prl upstream, without keeping the upstream."""
        super().__init__()
        self.num_layers: int = upstream.num_layers
        self.hidden_sizes: list[int] = upstream.hidden_sizes
        self.downsample_rates: list[int] = upstream.downsample_rates

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Split (batch, frames, states, dim) into its states, float32. ``lengths`` (batch,) are in samples."""
        frame_lengths = lengths // self.downsample_rates[0]
        # Convert as late as this: half precision is faster to pad and to move to a device.
        return [states.float() for states in features.unbind(dim=2)], [frame_lengths] * self.num_layers


def cached_features(upstream: Any, weights: str, kind: Kind, context: Context) -> Features:
    """Open the features of an upstream.

    Args:
        upstream: an s3prl upstream, in eval mode on the context's device; computes missing features.
        weights: hash of its weights and shape, see `bench.upstream.checkpoint.weights_hash`.
        kind: which features the head trains on.
        context: device and limit of the cache.
    """

    def hidden_states(waveform: Tensor) -> Tensor:
        waveforms = waveform[None].to(context.device)
        with torch.inference_mode():
            states, _ = upstream(waveforms, torch.tensor([waveforms.shape[1]]))
        return torch.stack([state[0] for state in states], dim=1)

    # The name is for people only; the same weights may have several names.
    about = {**_identity(weights, kind, context), "model": context.model}
    return Features(
        hidden_states,
        FeatureStore(store_folder(weights, kind, context), about),
        kind,
        frame_bytes=upstream.num_layers * upstream.hidden_sizes[0] * DTYPES[kind].itemsize,
        limit_bytes=context.cache_limit_bytes,
    )


def store_folder(weights: str, kind: Kind, context: Context) -> Path:
    """Return the folder of an upstream's features. Arguments as in `cached_features`."""
    identity = repr(sorted(_identity(weights, kind, context).items()))
    return features_root() / hashlib.sha256(identity.encode()).hexdigest()[:40]


def _identity(weights: str, kind: Kind, context: Context) -> dict[str, str]:
    return {
        "weights_hash": weights,
        "features": kind,
        "dtype": str(DTYPES[kind]),
        "length_rule": LENGTH_RULE,
        **{name: version(name) for name in ("superb-bench", "torch", "torchaudio")},
        "device": context.device,
    }


def feature_loader_class(
    audio_loader: Callable[..., AudioLoader], features: Features, num_samples: Sequence[int], stride: int
) -> Callable[..., FeatureLoader]:
    """Return the replacement of s3prl's class ``LoadAudio`` for one table.

    Args:
        audio_loader: that class.
        features: the upstream's features.
        num_samples: length of each utterance of the table, at 16 kHz.
        stride: the upstream's stride in samples.
    """

    def load(filepaths: list[str], *arguments: Any, max_secs: float | None = None, **options: Any) -> FeatureLoader:
        loader = audio_loader(filepaths, *arguments, **options)
        prepared_by = {"arguments": arguments, "options": options, "max_secs": max_secs}
        return FeatureLoader(loader, prepared_by, features, WaveformIndex(waveforms_root()), num_samples, stride)

    return load
