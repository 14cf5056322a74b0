"""SoX's effect ``silence``, as the recipe of speaker verification uses it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WINDOWS_PER_S = 50
"""The level is measured over 20 ms."""


def without_silence(
    waveform: NDArray[np.float32], sample_rate_hz: int, duration_s: float, threshold: float
) -> NDArray[np.float32]:
    """Remove silence at the start, and longer pauses: ``silence 1 D T% -1 D T%``.

    Sound begins with ``duration_s`` above the threshold, and ends where as much is below it. What is below is removed
    up to the next sound.

    Source: the manual and the source of SoX 14.4.2, ``silence``.

    Args:
        waveform: (samples,), full scale is 1.
        sample_rate_hz: its rate.
        duration_s: shortest sound, and shortest silence.
        threshold: root mean square of the loudest silence, relative to full scale.
    """
    hold = round(duration_s * sample_rate_hz)
    kept: list[NDArray[np.float32]] = []
    start = 0
    while start < len(waveform):
        rest = waveform[start:]
        is_loud = _levels(rest, sample_rate_hz // _WINDOWS_PER_S) >= threshold
        first = _first_run(is_loud, hold)
        if first is None:
            break
        quiet = _first_run(~is_loud[first + hold :], hold)
        if quiet is None:
            kept.append(rest[first:])
            break
        end = first + hold + quiet
        kept.append(rest[first:end])
        start += end + hold
    return np.concatenate(kept) if kept else waveform[:0]


def _levels(waveform: NDArray[np.float32], window: int) -> NDArray[np.float64]:
    """Return the root mean square of the window that ends at each sample, with zeros before the first."""
    sums = np.cumsum(np.concatenate([np.zeros(window), np.square(waveform, dtype=np.float64)]))
    # Rounding may leave a negative sum where the window is silent.
    levels: NDArray[np.float64] = np.sqrt(np.maximum(sums[window:] - sums[:-window], 0.0) / window)
    return levels


def _first_run(flags: NDArray[np.bool_], length: int) -> int | None:
    """Return where the first run of ``length`` true flags begins. None if there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long = np.flatnonzero(ends - starts >= length)
    return int(starts[long[0]]) if len(long) else None
