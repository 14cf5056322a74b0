"""Recording conditions: noise, room, recording chain and level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

FLUCTUATING_SHARE = 0.5
"""Share of the scenes with fluctuating noise."""
RESPONSE_HZ: tuple[float, ...] = tuple(700.0 * (np.exp(np.linspace(np.log1p(60 / 700), np.log1p(8000 / 700), 64)) - 1))
"""Frequencies of a response's gains, evenly spaced on the mel scale."""


@dataclass(frozen=True)
class Conditions:
    """The range of recording conditions of a corpus."""

    snr_db: tuple[float, float]
    reverberant_share: float
    """Share of the utterances with reverberation."""
    response_db: float = 0.0
    """Standard deviation of a microphone's detailed response; 0 if every microphone is flat."""
    tilt_db: float = 0.0
    """Standard deviation of a microphone's spectral tilt per octave."""
    noise_response_db: float = 0.0
    """Standard deviation of the noise's detailed spectrum around its colour."""


@dataclass(frozen=True)
class Scene:
    """The recording conditions of one utterance."""

    snr_db: float
    """Speech-to-noise ratio during speech, before the recording chain."""
    reverberation_s: float
    """Time for the reverberation to fall by 60 dB; 0 without a room."""
    noise_slope: float
    """Exponent of frequency by which the noise's power falls: 0 white, 1 pink, 2 brown."""
    level_dbfs: float
    """Root mean square of the whole recording; lower if its peaks would clip."""
    fluctuation_hz: float = 0.0
    """Rate of the noise's fluctuation: passing cars below 1, babble at 4 and above."""
    fluctuation_db: float = 0.0
    """Standard deviation of the noise's level; 0 is steady."""
    response_db: tuple[float, ...] = ()
    """The microphone's gains at `RESPONSE_HZ`; empty is flat."""
    noise_response_db: tuple[float, ...] = ()
    """Gains of the noise at `RESPONSE_HZ`, in addition to its colour; empty for none."""


def draw_scene(random: RandomState, conditions: Conditions) -> Scene:
    """Draw the conditions of one utterance."""
    snr_db = random.uniform(*conditions.snr_db)
    reverberant = random.uniform() < conditions.reverberant_share
    reverberation_s = random.uniform(0.15, 0.6)
    noise_slope = random.uniform(0.0, 2.0)
    level_dbfs = random.uniform(-32.0, -20.0)
    fluctuating = random.uniform() < FLUCTUATING_SHARE
    fluctuation_hz = 0.5 * 16.0 ** random.uniform()
    fluctuation_db = random.uniform(3.0, 8.0)
    # Drawn last: corpora without them keep their content.
    response_db, noise_response_db = (
        _draw_response(random, conditions.response_db, conditions.tilt_db),
        _draw_response(random, conditions.noise_response_db),
    )
    return Scene(
        snr_db=round(snr_db, 2),
        reverberation_s=round(reverberation_s, 3) if reverberant else 0.0,
        noise_slope=round(noise_slope, 2),
        level_dbfs=round(level_dbfs, 2),
        fluctuation_hz=round(fluctuation_hz, 2) if fluctuating else 0.0,
        fluctuation_db=round(fluctuation_db, 2) if fluctuating else 0.0,
        response_db=response_db,
        noise_response_db=noise_response_db,
    )


def _draw_response(random: RandomState, gain_db: float, tilt_db: float = 0.0) -> tuple[float, ...]:
    """Draw gains at `RESPONSE_HZ`; empty if they do not vary."""
    if not gain_db and not tilt_db:
        return ()
    gains_db: NDArray[np.float64] = random.normal(0.0, 1.0, len(RESPONSE_HZ)) * gain_db
    gains_db += random.normal(0.0, 1.0) * tilt_db * np.log2(np.array(RESPONSE_HZ) / 1000.0)
    return tuple(round(float(one), 2) for one in gains_db)
