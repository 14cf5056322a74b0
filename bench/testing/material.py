"""Material for testing compressors: teachers of every kind, so small that a run takes seconds, and synthetic speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from bench.audio.files import SAMPLE_RATE_HZ
from bench.upstream import UpstreamConfig, UpstreamModel
from bench.upstream.config import Architecture, RelativePosition, uniform_config


def _tiny_shape(architecture: Architecture, *, large: bool) -> UpstreamConfig:
    # With the published 320 buckets, the position biases alone would be a seventh of a model this small.
    position = {"relative_position": RelativePosition(num_buckets=8, max_distance=20)}
    return uniform_config(
        architecture,
        32,
        3,
        4,
        48,
        conv_channels=8,
        large=large,
        positional_kernel=16,
        **(position if architecture == "wavlm" else {}),
    )


TEACHER_SHAPES = {
    "hubert": _tiny_shape("hubert", large=False),
    "hubert-large": _tiny_shape("hubert", large=True),
    "wavlm": _tiny_shape("wavlm", large=False),
    "wavlm-large": _tiny_shape("wavlm", large=True),
}
"""3 layers of 4 heads, 32 features, 8 channels. The ``large`` ones have Large's pre-norm layers, extractor norms and
biases, and normalised waveforms. wav2vec 2.0 has the network of HuBERT.
"""


def tiny_teacher(kind: str = "hubert", seed: int = 0) -> UpstreamModel:
    """Return a teacher with random weights, in evaluation mode, without changing the state of torch's generator.

    Args:
        kind: one of `TEACHER_SHAPES`.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UpstreamModel(TEACHER_SHAPES[kind]).eval()


def write_speech(folder: Path, num_files: int = 6) -> None:
    """Write speech-like audio at 16 kHz. Lengths are 1.0 s, 1.4 s, 1.8 s, ..."""
    random = np.random.default_rng(0)
    for index in range(num_files):
        waveform = _voice(int(SAMPLE_RATE_HZ * (1.0 + 0.4 * index)), random)
        soundfile.write(folder / f"speech-{index}.wav", waveform, SAMPLE_RATE_HZ)


def utterance(num_samples: int) -> torch.Tensor:
    """Return speech-like audio at 16 kHz, (samples,) float32."""
    return torch.from_numpy(_voice(num_samples, np.random.default_rng(0)).astype(np.float32))


def _voice(num_samples: int, random: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Synthesise harmonic tones with a moving envelope."""
    time = np.arange(num_samples) / SAMPLE_RATE_HZ
    pitch = random.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 3 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time))
    return np.asarray(0.1 * voice + 0.003 * random.standard_normal(num_samples))
