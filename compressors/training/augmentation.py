"""Augmentation of training audio. The units stay those of the clean speech."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from scipy.fft import next_fast_len
from torch import Tensor

from bench.audio.files import SAMPLE_RATE_HZ
from bench.contracts import Settings

LONGEST_MIXED_SHARE = 0.5
"""Longest stretch mixed into an utterance, as a share of the utterance. Source: WavLM section III-B."""
MIXING_RATIO_DB = (-5.0, 5.0)
"""Energy of the utterance over that of the stretch mixed into it. Source: WavLM section III-B."""
NOISE_RATIO_DB = (-5.0, 25.0)
"""Energy of the utterance over that of the noise."""
NOISE_SLOPE = (0.0, 2.0)
"""Exponent of the noise's power over frequency: 0 is white, 1 pink, 2 brown."""
FLUCTUATION_DB = (0.0, 8.0)
"""Standard deviation of the noise's level."""
FLUCTUATIONS_PER_S = (1.0, 16.0)
"""How often the noise's level turns."""
REVERBERATION_S = (0.15, 0.8)
"""Time for a room's reverberation to fall by 60 dB."""
REVERBERATION_DB = (-9.0, 3.0)
"""Energy of the reverberation over that of the direct sound."""
MICROPHONE_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
"""Frequencies of a microphone's gains, which are interpolated over the logarithm of frequency."""
MICROPHONE_TAIL = 1024
"""Samples of silence that keep the end of an utterance from ringing into its start."""


class AugmentationConfig(Settings):
    """How often training audio is changed."""

    mixing_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of the utterances that another one is mixed into. Source: WavLM (arXiv 2110.13900) section III-B."""
    noise_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of the utterances that noise is added to, steady or fluctuating."""
    reverberation_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of the utterances that are put in a room."""
    microphone_db: float = Field(default=0.0, ge=0, le=40)
    """Standard deviation of the gains of each utterance's microphone, an octave apart; 0 if all are flat."""


def augmented(waveforms: Tensor, config: AugmentationConfig, generator: np.random.Generator) -> Tensor:
    """Change the utterances of a batch: other talkers, rooms, noise and microphones, in this order.

    Arguments and result are as in `mixed`.
    """
    waveforms = mixed(waveforms, config.mixing_probability, generator)
    waveforms = reverberated(waveforms, config.reverberation_probability, generator)
    waveforms = noisy(waveforms, config.noise_probability, generator)
    return equalised(waveforms, config.microphone_db, generator)


def mixed(waveforms: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """Mix stretches of other utterances of the batch into some.

    Args:
        waveforms: (batch, samples).
        probability: probability that an utterance is changed.
        generator: generator of the random numbers.

    Returns:
        (batch, samples), a new tensor.

    Source: WavLM (arXiv 2110.13900) section III-B, algorithm 1, without its recorded noises.
    """
    result = waveforms.clone()
    batch, num_samples = waveforms.shape
    for index in np.flatnonzero(generator.random(batch) < probability):
        length = int(generator.integers(1, int(LONGEST_MIXED_SHARE * num_samples) + 1))
        other = waveforms[generator.integers(batch)]
        taken_from, put_at = generator.integers(num_samples - length + 1, size=2)
        ratio_db = float(generator.uniform(*MIXING_RATIO_DB))
        stretch = other[taken_from : taken_from + length] * _gain(waveforms[index], other, ratio_db)
        result[index, put_at : put_at + length] += stretch
    return result


def noisy(waveforms: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """Add coloured noise to some utterances; arguments and result as in `mixed`."""
    result = waveforms.clone()
    batch, num_samples = waveforms.shape
    for index in np.flatnonzero(generator.random(batch) < probability):
        noise = _coloured_noise(num_samples, float(generator.uniform(*NOISE_SLOPE)), generator)
        noise *= _fluctuation(num_samples, generator)
        result[index] += noise * _gain(waveforms[index], noise, float(generator.uniform(*NOISE_RATIO_DB)))
    return result


def reverberated(waveforms: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """Put some utterances in a room, the direct sound and noise that decays; arguments and result as in `mixed`."""
    result = waveforms.clone()
    batch, num_samples = waveforms.shape
    for index in np.flatnonzero(generator.random(batch) < probability):
        response = _room(float(generator.uniform(*REVERBERATION_S)), generator)
        size = next_fast_len(num_samples + len(response), real=True)
        spectrum = torch.fft.rfft(waveforms[index], size) * torch.fft.rfft(response, size)
        result[index] = torch.fft.irfft(spectrum, size)[:num_samples]
    return result


def equalised(waveforms: Tensor, deviation_db: float, generator: np.random.Generator) -> Tensor:
    """Record every utterance with a microphone of its own; arguments and result as in `mixed`.

    ``deviation_db`` is the standard deviation of the gains.
    """
    if deviation_db == 0:
        return waveforms
    batch, num_samples = waveforms.shape
    size = next_fast_len(num_samples + MICROPHONE_TAIL, real=True)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ), MICROPHONE_HZ[0]))
    gains_db = generator.normal(0.0, deviation_db, (batch, len(MICROPHONE_HZ)))
    curves_db = np.stack([np.interp(octaves, np.log2(MICROPHONE_HZ), gains) for gains in gains_db])
    gains = torch.from_numpy(10 ** (curves_db / 20)).float()
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(waveforms, size) * gains, size)[:, :num_samples]
    return filtered


def _room(reverberation_s: float, generator: np.random.Generator) -> Tensor:
    """Return the impulse response of a room, (samples,)."""
    num_samples = round(reverberation_s * SAMPLE_RATE_HZ)
    decay = 10 ** (-3 * np.arange(num_samples, dtype=np.float32) / num_samples)
    tail = generator.standard_normal(num_samples, dtype=np.float32) * decay
    tail *= 10 ** (generator.uniform(*REVERBERATION_DB) / 20) / np.linalg.norm(tail)
    tail[0] = 1.0
    return torch.from_numpy(tail)


def _fluctuation(num_samples: int, generator: np.random.Generator) -> Tensor:
    """Return the gain of fluctuating noise at every sample."""
    num_points = 2 + int(num_samples / SAMPLE_RATE_HZ * generator.uniform(*FLUCTUATIONS_PER_S))
    points_db = generator.uniform(*FLUCTUATION_DB) * generator.standard_normal(num_points)
    gains_db = np.interp(np.linspace(0, num_points - 1, num_samples), np.arange(num_points), points_db)
    return torch.from_numpy(10 ** (gains_db / 20)).float()


def _coloured_noise(num_samples: int, slope: float, generator: np.random.Generator) -> Tensor:
    size = next_fast_len(num_samples, real=True)
    spectrum = torch.from_numpy(generator.standard_normal((size // 2 + 1, 2), dtype=np.float32))
    bins = torch.arange(1, len(spectrum) + 1, dtype=torch.float32)
    noise: Tensor = torch.fft.irfft(torch.view_as_complex(spectrum) * bins ** (-slope / 2), size)[:num_samples]
    return noise


def _gain(wanted: Tensor, added: Tensor, ratio_db: float) -> float:
    """Return the factor that brings ``added`` to ``ratio_db`` below ``wanted``; 0 if ``added`` is silent."""
    energy = added.square().mean().item()
    return math.sqrt(wanted.square().mean().item() / energy / 10 ** (ratio_db / 10)) if energy > 0 else 0.0
