"""Effects of emotions on a voice besides pitch and rate: effort, roughness, tremor, breath and swell."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from scipy.signal import lfilter

from bench.audio.files import SAMPLE_RATE_HZ
from tasks.mini.acoustics import Waveform, coloured_noise, equalised
from tasks.mini.delivery import Delivery

EFFORT_HZ = (500.0, 8000.0)
"""Effort acts above the lower frequency."""
_EFFORT_OCTAVES = 4
ROUGHNESS_HZ = (16.0, 26.0)
TREMOR_HZ = (7.0, 9.0)
_BREATH_SLOPE = -0.5
"""Breath is brighter than white noise."""
_ENVELOPE_S = 0.02


def expressed(speech: Waveform, delivery: Delivery, random: RandomState) -> Waveform:
    """Apply a delivery's voice quality to dry speech at 16 kHz, without changing its length."""
    if delivery.effort_db:
        speech = equalised(speech, EFFORT_HZ, (0.0, _EFFORT_OCTAVES * delivery.effort_db))
    if delivery.breathiness:
        breath = coloured_noise(random, len(speech), _BREATH_SLOPE)
        speech = speech + delivery.breathiness * envelope(speech) * breath
    if delivery.roughness:
        speech = speech * beating(random, len(speech), ROUGHNESS_HZ, delivery.roughness)
    if delivery.tremor:
        speech = speech * beating(random, len(speech), TREMOR_HZ, delivery.tremor)
    if delivery.swell_db:
        speech = speech * 10 ** (np.linspace(-0.5, 0.5, len(speech)) * delivery.swell_db / 20)
    return speech


def envelope(speech: Waveform) -> Waveform:
    """Follow the amplitude of speech, shape (samples,)."""
    decay = np.exp(-1 / (_ENVELOPE_S * SAMPLE_RATE_HZ))
    power = lfilter([1 - decay], [1, -decay], np.square(speech))
    followed: Waveform = np.sqrt(power)
    return followed


def beating(random: RandomState, num_samples: int, rate_hz: tuple[float, float], depth: float) -> Waveform:
    """Make gains from ``1 - depth`` to 1 that beat irregularly, at a varying rate within ``rate_hz``."""
    duration_s = num_samples / SAMPLE_RATE_HZ
    knots_s = np.arange(0.0, duration_s + 0.1, 0.1)
    phase = 2 * np.pi * (random.uniform() + np.cumsum(random.uniform(*rate_hz, len(knots_s))) * 0.1)
    wave = np.sin(np.interp(np.arange(num_samples) / SAMPLE_RATE_HZ, knots_s, phase))
    gains: Waveform = 1 - depth * (0.5 + 0.5 * wave)
    return gains
