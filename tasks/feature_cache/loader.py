"""Replaces s3prl's ``LoadAudio``: returns features instead of waveforms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from bench.audio.files import SAMPLE_RATE_HZ
from bench.audio.resampling import RESAMPLER
from tasks.feature_cache.features import Features
from tasks.feature_cache.waveforms import WaveformIndex, waveform_sha256


class AudioLoader(Protocol):
    """s3prl's ``LoadAudio``: cuts, resamples and applies effects."""

    filepaths: list[str]

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class FeatureLoader:
    """Features of the utterances of one table, in its order.

    If the recipe crops utterances at random, each utterance has one fixed crop here, since a moving crop cannot be
    cached. The samples decide its place: a crop that depends on the path would change if the corpus moved.
    """

    def __init__(
        self,
        loader: AudioLoader,
        options: dict[str, Any],
        features: Features,
        index: WaveformIndex,
        num_samples: Sequence[int],
        stride: int,
    ) -> None:
        """Compute missing features.

        Args:
            loader: decodes whole utterances, prepared as in the recipe.
            options: the recipe's options of the loader, as plain values; ``max_secs`` is applied here.
            features: the upstream's features.
            index: the index of waveforms.
            num_samples: length of each utterance before cropping.
            stride: the upstream's stride in samples.
        """
        self._loader = loader
        self._features = features
        self._stride = stride
        max_secs = options.get("max_secs")
        self._max_samples = None if max_secs is None else round(max_secs * SAMPLE_RATE_HZ)
        preparation = json.dumps({**options, "crop": "by samples", "resampler": RESAMPLER}, sort_keys=True, default=str)
        self._hashes = index.hashes(loader.filepaths, preparation, self.waveform)
        longest = self._max_samples
        lengths = [count if longest is None else min(count, longest) for count in num_samples]
        features.prepare(
            self._hashes, [(count - 1) // stride + 1 for count in lengths], loader.filepaths, self.waveform
        )

    def __len__(self) -> int:
        return len(self._hashes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``wav``: features (frames, states, dim), and ``wav_len``: samples that give this many frames."""
        features = self._features[self._hashes[index]]
        return {"wav": features, "wav_len": len(features) * self._stride, "wav_path": self._loader.filepaths[index]}

    def waveform(self, index: int) -> Tensor:
        """Decode and crop an utterance: (samples,) float32."""
        waveform: Tensor = self._loader[index]["wav"]
        excess = len(waveform) - self._max_samples if self._max_samples else 0
        if excess <= 0:
            return waveform
        start = int(waveform_sha256(waveform)[:16], 16) % (excess + 1)
        return waveform[start : start + len(waveform) - excess]
