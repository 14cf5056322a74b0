"""Connects the feature cache to s3prl: features replace the audio, and a stand-in replaces the upstream."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bench.audio.files import SAMPLE_RATE_HZ
from bench.cache_folder import waveforms_root
from bench.contracts import Context
from tasks.feature_cache.choice import Kind, Precision
from tasks.feature_cache.features import DTYPES, Features, HiddenStates, reduced
from tasks.feature_cache.loader import AudioLoader, FeatureLoader, FixedCrops
from tasks.feature_cache.room import features_root
from tasks.feature_cache.store import FeatureStore

LENGTH_RULE = "s3prl: the last frame repeated up to one frame a stride begun"
BATCH_S = {"cpu": 0, "cuda": 64}
"""Seconds of audio that the upstream takes at once, by device. A CPU gains nothing from batches."""

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


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
        return _split(features, lengths // self.downsample_rates[0])


class RecomputedUpstream(CachedUpstream):
    """Computes what `CachedUpstream` reads: frames of every utterance, alone and unpadded, in the stored precision."""

    def __init__(self, upstream: Any, hidden_states: HiddenStates) -> None:
        """Copy the shape of an s3prl upstream, and keep the function that computes its hidden states."""
        super().__init__(upstream)
        self._hidden_states = hidden_states

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Compute the states of waveforms (batch, samples), float32. ``lengths`` (batch,) are in samples."""
        frames = [
            reduced(self._hidden_states(waveform[None, :length])[0], "frames")
            for waveform, length in zip(features, lengths.tolist(), strict=True)
        ]
        frame_lengths = torch.tensor([len(each) for each in frames], device=lengths.device)
        return _split(pad_sequence(frames, batch_first=True), frame_lengths)


def _split(frames: Tensor, frame_lengths: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Split (batch, frames, states, dim) into its states, float32."""
    # Convert as late as this: half precision is faster to pad and to move to a device.
    states = [each.float() for each in frames.unbind(dim=2)]
    return states, [frame_lengths] * len(states)


def hidden_states_of(upstream: Any, device: str, precision: Precision) -> HiddenStates:
    """Return a function that computes the hidden states of waveforms of one length.

    Args:
        upstream: an s3prl upstream, in eval mode on the device.
        device: the device.
        precision: of the upstream's forward pass.
    """

    def hidden_states(waveforms: Tensor) -> list[Tensor]:
        waveforms = waveforms.to(device)
        lengths = torch.full((len(waveforms),), waveforms.shape[1], device=device)
        is_mixed = precision != "fp32"
        with torch.inference_mode(), torch.autocast(device, _AUTOCAST.get(precision), enabled=is_mixed):
            states, _ = upstream(waveforms, lengths)
            return [torch.stack([state[row] for state in states], dim=1).float() for row in range(len(waveforms))]

    return hidden_states


def cached_features(
    upstream: Any, weights: str, kind: Kind, context: Context, *, precision: Precision = "fp32", num_workers: int = 0
) -> Features:
    """Open the features of an upstream.

    Args:
        upstream: an s3prl upstream, in eval mode on the context's device; computes missing features.
        weights: hash of its weights and shape, see `bench.upstream.checkpoint.weights_hash`.
        kind: which features the head trains on.
        context: device and limit of the cache.
        precision: of the upstream's forward pass.
        num_workers: processes that decode audio.
    """
    # The name is for people only; the same weights may have several names.
    about = {**_identity(weights, kind, context, precision), "model": context.model}
    return Features(
        hidden_states_of(upstream, context.device, precision),
        FeatureStore(store_folder(weights, kind, context, precision), about),
        kind,
        frame_bytes=upstream.num_layers * upstream.hidden_sizes[0] * DTYPES[kind].itemsize,
        limit_bytes=context.cache_limit_bytes,
        most_samples=BATCH_S[context.device] * SAMPLE_RATE_HZ,
        num_workers=num_workers,
    )


def store_folder(weights: str, kind: Kind, context: Context, precision: Precision = "fp32") -> Path:
    """Return the folder of an upstream's features. Arguments as in `cached_features`."""
    identity = repr(sorted(_identity(weights, kind, context, precision).items()))
    return features_root() / hashlib.sha256(identity.encode()).hexdigest()[:40]


def _identity(weights: str, kind: Kind, context: Context, precision: Precision) -> dict[str, str]:
    batch_s = BATCH_S[context.device]
    return {
        "weights_hash": weights,
        "features": kind,
        "dtype": str(DTYPES[kind]),
        "length_rule": LENGTH_RULE,
        **{name: version(name) for name in ("superb-bench", "torch", "torchaudio")},
        "device": context.device,
        # Left out where they are as in earlier versions, whose features are still good.
        **({"batches": f"of one length, at most {batch_s} s"} if batch_s else {}),
        **({"precision": precision} if precision != "fp32" else {}),
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
        crops = FixedCrops(audio_loader(filepaths, *arguments, **options), max_secs)
        prepared_by = {"arguments": arguments, "options": options, "max_secs": max_secs}
        return FeatureLoader(crops, prepared_by, features, waveforms_root(), num_samples, stride)

    return load


def fixed_crops_class(audio_loader: Callable[..., AudioLoader]) -> Callable[..., FixedCrops]:
    """Return the replacement of s3prl's class ``LoadAudio`` for `RecomputedUpstream`."""

    def load(filepaths: list[str], *arguments: Any, max_secs: float | None = None, **options: Any) -> FixedCrops:
        return FixedCrops(audio_loader(filepaths, *arguments, **options), max_secs)

    return load
