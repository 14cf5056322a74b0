"""Replaces s3prl's ``LoadAudio``: returns features instead of waveforms, or waveforms with fixed crops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from bench.audio.files import SAMPLE_RATE_HZ
from bench.audio.resampling import RESAMPLER
from tasks.feature_cache.decoding import waveform_sha256
from tasks.feature_cache.features import Features, Utterances
from tasks.feature_cache.waveforms import WaveformHashes


class AudioLoader(Protocol):
    """s3prl's ``LoadAudio``: cuts, resamples and applies effects."""

    filepaths: list[str]

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class FixedCrops:
    """The utterances of one table, in its order.

    If the recipe crops utterances at random, each utterance has one fixed crop here, since a moving crop cannot be
    cached. The samples decide its place: a crop that depends on the path would change if the corpus moved.
    """

    def __init__(self, loader: AudioLoader, max_secs: float | None) -> None:
        """Wrap a loader.

        Args:
            loader: decodes whole utterances, prepared as in the recipe.
            max_secs: the recipe's option of the loader.
        """
        self._loader = loader
        self.paths = loader.filepaths
        self.max_samples = None if max_secs is None else round(max_secs * SAMPLE_RATE_HZ)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``wav``: the waveform (samples,), and ``wav_len``: its length."""
        waveform = self.waveform(index)
        return {"wav": waveform, "wav_len": len(waveform), "wav_path": self.paths[index]}

    def waveform(self, index: int) -> Tensor:
        """Decode and crop an utterance: (samples,) float32."""
        waveform: Tensor = self._loader[index]["wav"]
        excess = len(waveform) - self.max_samples if self.max_samples else 0
        if excess <= 0:
            return waveform
        start = int(waveform_sha256(waveform)[:16], 16) % (excess + 1)
        return waveform[start : start + len(waveform) - excess]


class FeatureLoader:
    """Features of the utterances of one table, in its order."""

    def __init__(
        self,
        crops: FixedCrops,
        options: dict[str, Any],
        features: Features,
        hashes_folder: Path,
        num_samples: Sequence[int],
        stride: int,
    ) -> None:
        """Compute missing features.

        Args:
            crops: the utterances.
            options: the recipe's options of the loader, as plain values, with ``max_secs``.
            features: the upstream's features.
            hashes_folder: holds the hashes of waveforms.
            num_samples: length of each utterance before cropping.
            stride: the upstream's stride in samples.
        """
        self._paths = crops.paths
        self._features = features
        self._stride = stride
        preparation = json.dumps({**options, "crop": "by samples", "resampler": RESAMPLER}, sort_keys=True, default=str)
        self._hashes = WaveformHashes(hashes_folder, crops.paths, preparation)
        longest = crops.max_samples
        lengths = [count if longest is None else min(count, longest) for count in num_samples]
        num_frames = [(count - 1) // stride + 1 for count in lengths]
        features.prepare(Utterances(self._hashes, lengths, num_frames, crops.paths, crops.waveform))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``wav``: features (frames, states, dim), and ``wav_len``: samples that give this many frames."""
        features = self._features[self._hashes.of(index)]
        return {"wav": features, "wav_len": len(features) * self._stride, "wav_path": self._paths[index]}
