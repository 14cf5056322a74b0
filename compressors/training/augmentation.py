"""Augmentation of training audio. The units stay those of the clean speech."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.contracts import Settings

LONGEST_MIXED_SHARE = 0.5
"""Longest stretch mixed into an utterance, as a share of the utterance. Source: WavLM section III-B."""
MIXING_RATIO_DB = (-5.0, 5.0)
"""Energy of the utterance over that of the stretch mixed into it. Source: WavLM section III-B."""
NOISE_RATIO_DB = (0.0, 30.0)
"""Energy of the utterance over that of the noise."""
NOISE_SLOPE = (0.0, 2.0)
"""Exponent of the noise's power over frequency: 0 is white, 1 pink, 2 brown."""


class AugmentationConfig(Settings):
    """How often training audio is changed."""

    mixing_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of the utterances that another one is mixed into. Source: WavLM (arXiv 2110.13900) section III-B."""
    noise_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of the utterances that noise is added to."""


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
        result[index] += noise * _gain(waveforms[index], noise, float(generator.uniform(*NOISE_RATIO_DB)))
    return result


def _coloured_noise(num_samples: int, slope: float, generator: np.random.Generator) -> Tensor:
    spectrum = torch.fft.rfft(torch.from_numpy(generator.standard_normal(num_samples, dtype=np.float32)))
    bins = torch.arange(len(spectrum)).clamp(min=1)
    noise: Tensor = torch.fft.irfft(spectrum * bins ** (-slope / 2), n=num_samples)
    return noise


def _gain(wanted: Tensor, added: Tensor, ratio_db: float) -> float:
    """Return the factor that brings ``added`` to ``ratio_db`` below ``wanted``; 0 if ``added`` is silent."""
    energy = added.square().mean().item()
    return math.sqrt(wanted.square().mean().item() / energy / 10 ** (ratio_db / 10)) if energy > 0 else 0.0
