"""Resamples audio of any usual rate to 16 kHz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
LOWEST_RATE_HZ = 4_000
HIGHEST_RATE_HZ = 384_000
"""Rates outside these limits come from damaged headers, not from recorders."""

RESAMPLER = "soxr HQ"
"""Name of the filter, part of the key of caches."""


def resampled_length(num_samples: int, sample_rate_hz: int) -> int:
    """Return the number of samples at 16 kHz."""
    return -(-num_samples * SAMPLE_RATE_HZ // sample_rate_hz)


def resampled(waveform: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Resample a waveform, shape (samples,), to 16 kHz.

    Memory does not depend on the ratio of the rates: 15,999 Hz costs as much as 8,000 Hz.

    Source: librosa 0.11, ``load`` with its defaults, which s3prl's recipes call.
    """
    # Slow to import, and most corpora have 16 kHz.
    import soxr

    found: NDArray[np.float32] = soxr.resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    num_samples = resampled_length(len(waveform), sample_rate_hz)
    return np.pad(found[:num_samples], (0, max(0, num_samples - len(found))))
