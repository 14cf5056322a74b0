"""Brings audio of any usual rate to 16 kHz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
LOWEST_RATE_HZ = 4_000
HIGHEST_RATE_HZ = 384_000
"""Rates outside these limits come from damaged headers, not from recorders."""

RESAMPLER = "soxr HQ"
"""Names the filter, for caches of what was made with it."""


def resampled_length(num_samples: int, sample_rate_hz: int) -> int:
    """Return how many samples there are at 16 kHz."""
    return -(-num_samples * SAMPLE_RATE_HZ // sample_rate_hz)


def resampled(waveform: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Resample a waveform, shape (samples,), to 16 kHz.

    Memory does not depend on the ratio of the rates, so 15,999 Hz costs what 8,000 Hz costs.

    Source: librosa 0.11, ``load`` with its defaults, which is what s3prl's recipes call.
    """
    # Takes a while to import, and most corpora have 16 kHz.
    import soxr

    found: NDArray[np.float32] = soxr.resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    num_samples = resampled_length(len(waveform), sample_rate_hz)
    return np.pad(found[:num_samples], (0, max(0, num_samples - len(found))))
